"""``--ckpt_path=last``: go on with the newest whole checkpoint of this run, wherever it stopped."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from .checkpoint import PATTERN, newest_complete


def find_last(config: Any) -> Path | None:
    """The newest whole checkpoint under the folders that this configuration writes to.

    Args:
        config: of a subcommand, before anything is made from it.

    Returns:
        None when there is no checkpoint yet; a run that is requeued may never have saved.
    """
    root = _root(config)
    found, torn = newest_complete(_checkpoints(config, root))
    for path in torn:
        rank_zero_info(f"--ckpt_path=last: {path} is torn, looking for the one before")
    if found is None:
        rank_zero_info(f"--ckpt_path=last: no checkpoint under {str(root)!r} yet, starting afresh")
    else:
        rank_zero_info(f"--ckpt_path=last: going on from {found}")
    return found


def stay_in_folder(config: Any, checkpoint: Path) -> None:
    """Let a TensorBoard logger write where the checkpoint's run did, instead of beside it."""
    logger = config.trainer.logger
    if str(_setting(logger, "class_path")).endswith("TensorBoardLogger"):
        folder = checkpoint.parent.parent
        if folder.parent == _root(config) and _setting(logger, "version") is None:
            logger.init_args.version = folder.name


def _root(config: Any) -> Path:
    """Parent of the runs' folders."""
    logger = config.trainer.logger
    save_dir = _setting(logger, "save_dir")
    if save_dir is None:
        return Path(config.trainer.get("default_root_dir") or ".")
    return Path(save_dir) / (_setting(logger, "name") or "lightning_logs")


def _checkpoints(config: Any, root: Path) -> list[Path]:
    dirpath = _setting(config.get("checkpoint"), "dirpath")
    if dirpath is not None:
        return list(Path(dirpath).glob(PATTERN))
    return [*root.glob(f"*/checkpoints/{PATTERN}"), *root.glob(f"checkpoints/{PATTERN}")]


def _setting(slot: Any, name: str) -> Any:
    """A value from a class's slot; None when the slot is empty or holds something else."""
    if slot is None or isinstance(slot, bool | list):
        return None
    return slot.get(name, slot.get("init_args", {}).get(name))
