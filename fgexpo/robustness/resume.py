"""``--ckpt_path=last``: resume from the newest complete checkpoint of this run."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from ..errors import UserError
from .checkpoint import PATTERN, newest_complete

# Loggers that give each start of a run its own folder, under save_dir/name.
_VERSIONED = ("TensorBoardLogger", "CSVLogger")
_LIGHTNINGS_NAME = "lightning_logs"


def find_last(config: Any) -> Path | None:
    """The newest complete checkpoint that this configuration's runs have written.

    Args:
        config: a subcommand's configuration, not yet instantiated.

    Returns:
        None when there is no checkpoint yet; a requeued run may never have saved.

    Raises:
        UserError: when the configuration does not tell where they are.
    """
    root, pattern = checkpoint_folders(config)
    found, torn = newest_complete(root.glob(f"{pattern}{PATTERN}"))
    for path in torn:
        rank_zero_info(f"--ckpt_path=last: {path} is incomplete, trying the one before")
    if found is not None:
        rank_zero_info(f"--ckpt_path=last: resuming from {found}")
    return found


def checkpoint_folders(config: Any) -> tuple[Path, str]:
    """Where checkpoints go: a folder, and a pattern below it that matches all starts of a run.

    It mirrors :func:`fgexpo.files.run_folder`, which needs a trainer.
    """
    saver, logger = config.get("checkpoint"), config.trainer.get("logger")
    if _setting(saver, "dirpath") is not None:
        return Path(_setting(saver, "dirpath")), ""
    default_root = Path(config.trainer.get("default_root_dir") or ".")
    if logger is False:
        return default_root, "checkpoints/"
    if logger is None or logger is True:
        return default_root / _LIGHTNINGS_NAME, "*/checkpoints/"
    logger = logger[0] if isinstance(logger, list) else logger
    kind, save_dir = str(logger.get("class_path")), _setting(logger, "save_dir")
    if save_dir is None:
        raise UserError(
            f"--ckpt_path=last: trainer.logger {kind!r} does not tell where its runs are; "
            "set --checkpoint.dirpath"
        )
    if not kind.endswith(_VERSIONED):
        return Path(save_dir), "checkpoints/"
    root = Path(save_dir) / (_setting(logger, "name", _LIGHTNINGS_NAME) or "")
    version, below = _setting(logger, "version"), _setting(logger, "sub_dir")
    chosen = "*" if version is None else f"version_{version}" if _whole(version) else version
    return root, f"{chosen}/{below + '/' if below else ''}checkpoints/"


def stay_in_folder(config: Any, checkpoint: Path) -> None:
    """Let a TensorBoard logger write to the checkpoint's run folder, not to a new one."""
    logger = config.trainer.get("logger")
    if str(_setting(logger, "class_path")).endswith("TensorBoardLogger"):
        root, pattern = checkpoint_folders(config)
        if pattern.startswith("*/") and checkpoint.is_relative_to(root):
            logger.init_args.version = checkpoint.relative_to(root).parts[0]


def _whole(version: Any) -> bool:
    return isinstance(version, int) and not isinstance(version, bool)


def _setting(slot: Any, name: str, default: Any = None) -> Any:
    """A value from a class's slot; the default when the slot is empty or does not set it."""
    if slot is None or isinstance(slot, bool | list):
        return default
    return slot.get(name, slot.get("init_args", {}).get(name, default))
