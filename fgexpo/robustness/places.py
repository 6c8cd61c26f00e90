"""Where a configuration's runs go, and how a run gets a folder that no other run has.

It mirrors :func:`fgexpo.files.run_folder`, which needs a trainer.
"""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from ..errors import UserError
from ..files import claim_version, version_name

# Loggers that give each start of a run its own folder, under save_dir/name.
_VERSIONED = ("TensorBoardLogger", "CSVLogger", "CSVRun")
# Loggers that are told their run's folder, which is under save_dir and one of these settings.
_TOLD = {
    "WandbLogger": ("name",),
    "WandbRun": ("name",),
    "MLFlowLogger": ("experiment_name",),
    "MLflowRun": ("name", "experiment_name"),
}
_LIGHTNINGS_NAME = "lightning_logs"
# Of runs without a logger, below trainer.default_root_dir.
_RUNS = "runs"


def checkpoint_folders(config: Any) -> list[tuple[Path, str]]:
    """Where checkpoints go: folders, and patterns below them that match all starts of a run.

    Raises:
        UserError: when the configuration does not tell where they are.
    """
    saver, logger = config.get("checkpoint"), main_logger(config)
    if setting(saver, "dirpath") is not None:
        return [(Path(setting(saver, "dirpath")), "")]
    root = runs_root(config, logger)
    if root is None:
        raise UserError(
            f"--ckpt_path=last: trainer.logger {logger.get('class_path')!r} does not tell where "
            "its runs are; set --checkpoint.dirpath"
        )
    if logger is False:
        # The second is where all such runs were before, and those without the command line are.
        return [(root, "version_*/checkpoints/"), (_default_root(config), "checkpoints/")]
    version, below = setting(logger, "version"), setting(logger, "sub_dir")
    if not is_versioned(logger):
        # The others are where such runs were in earlier versions.
        before = Path(setting(logger, "save_dir"))
        chosen = "version_*" if version is None or not told(logger) else version_name(version)
        found = [(root, f"{chosen}/checkpoints/"), (before, "checkpoints/")]
        if setting(logger, "project"):
            found.append((_project_root(logger, before), "version_*/checkpoints/"))
        return found
    chosen = "*" if version is None else f"version_{version}" if _whole(version) else version
    return [(root, f"{chosen}/{below + '/' if below else ''}checkpoints/")]


def stay_in_folder(config: Any, checkpoint: Path) -> Path | None:
    """Let a run that resumes write to the checkpoint's run folder, not to a new one.

    Returns:
        The folder, for a run whose logger does not take one; None otherwise.
    """
    if setting(config.get("checkpoint"), "dirpath") is not None:
        return None
    _spell_out(config)
    logger = main_logger(config)
    root = runs_root(config, logger)
    if root is None or not checkpoint.is_relative_to(root):
        return None
    if logger is False or not is_versioned(logger):
        return checkpoint.parents[1]
    for each in loggers_of(config):
        # Lightning's own CSV logger would delete what it finds there.
        stays = _named(each, "TensorBoardLogger") or _named(each, "CSVRun")
        if stays and runs_root(config, each) == root and setting(each, "version") is None:
            each.init_args.version = checkpoint.relative_to(root).parts[0]
    return None


def claim_folders(config: Any) -> tuple[list[Path], Path | None]:
    """Give every logger with a folder for each run a new one; call it on the first process only.

    Returns:
        The folders that were made, inner before outer; and which of them is that of a run without
        such a logger, or None.
    """
    _spell_out(config)
    logger = main_logger(config)
    by_root: dict[Path, list[Path]] = {}  # loggers with one place share the run's folder
    for each in loggers_of(config):
        if is_versioned(each) and setting(each, "version") is None:
            root = runs_root(config, each)
            assert root is not None
            by_root[root] = by_root.get(root) or _claim(root)
            each.init_args.version = int(by_root[root][0].name.removeprefix("version_"))
    claimed = [path for made in by_root.values() for path in made]
    root = runs_root(config, logger)
    if root is None or (logger is not False and is_versioned(logger)):
        return claimed, None
    version = setting(logger, "version") if told(logger) else None
    if version is not None:
        (root / version_name(version)).mkdir(parents=True, exist_ok=True)
        return claimed, root / version_name(version)
    made = _claim(root)
    return [*claimed, *made], made[0]


def _claim(root: Path) -> list[Path]:
    """A new folder for a run, and the folders above it that did not exist either."""
    new = [path for path in (root, *root.parents) if not path.exists()]
    return [claim_version(root), *new]


def versioned_folder(config: Any) -> Path | None:
    """The folder of a run whose main logger has one for each, once its version is settled."""
    logger = main_logger(config)
    if logger is False or not is_versioned(logger) or setting(logger, "version") is None:
        return None
    root, version = runs_root(config, logger), setting(logger, "version")
    assert root is not None
    name = f"version_{version}" if _whole(version) else str(version)
    return root / name / (setting(logger, "sub_dir") or "")


def main_logger(config: Any) -> Any:
    """The first logger with a folder for each run, or else the first; False if there is none."""
    loggers = loggers_of(config)
    return next(filter(is_versioned, loggers), loggers[0] if loggers else False)


def is_versioned(logger: Any) -> bool:
    """Whether a logger, as configured, has a folder for each run."""
    return any(_named(logger, kind) for kind in _VERSIONED)


def runs_root(config: Any, logger: Any) -> Path | None:
    """The folder whose subfolders are the runs; None if the configuration does not tell."""
    if logger is False:
        return _default_root(config) / _RUNS
    save_dir = setting(logger, "save_dir")
    if save_dir is None:
        return None
    if is_versioned(logger):
        return Path(save_dir) / (setting(logger, "name", _LIGHTNINGS_NAME) or "")
    if told(logger):
        names = (setting(logger, name) for name in _TOLD[_kind(logger)])
        return Path(save_dir, *[name for name in names if name][:1])
    return _project_root(logger, Path(save_dir))


def told(logger: Any) -> bool:
    """Whether a logger, as configured, is told its run's folder."""
    return logger is not False and _kind(logger) in _TOLD


def setting(slot: Any, name: str, default: Any = None) -> Any:
    """A value from a class's slot; the default when the slot is empty or does not set it."""
    if slot is None or isinstance(slot, bool | list):
        return default
    return slot.get(name, slot.get("init_args", {}).get(name, default))


def loggers_of(config: Any) -> list[Any]:
    """The loggers of a configuration, TensorBoard's if it names none."""
    logger = config.trainer.get("logger")
    if logger is False:
        return []
    if logger is None or logger is True:
        return [_lightnings_default(config)]
    return logger if isinstance(logger, list) else [logger]


def _spell_out(config: Any) -> None:
    # Under SLURM Lightning's own choice of a version is the job's number.
    if config.trainer.get("logger") in (None, True) and SLURMEnvironment.job_id() is None:
        config.trainer.logger = _lightnings_default(config)


def _lightnings_default(config: Any) -> Namespace:
    place = Namespace(save_dir=str(_default_root(config)), name=_LIGHTNINGS_NAME, version=None)
    return Namespace(class_path="lightning.pytorch.loggers.TensorBoardLogger", init_args=place)


def _default_root(config: Any) -> Path:
    return Path(config.trainer.get("default_root_dir") or ".")


def _project_root(logger: Any, save_dir: Path) -> Path:
    names = (setting(logger, name) for name in ("project", "name"))
    return Path(save_dir, *(str(name).strip("/") for name in names if name))


def _named(logger: Any, kind: str) -> bool:
    return str(setting(logger, "class_path")).endswith(kind)


def _kind(logger: Any) -> str:
    return str(setting(logger, "class_path")).rpartition(".")[2]


def _whole(version: Any) -> bool:
    return isinstance(version, int) and not isinstance(version, bool)
