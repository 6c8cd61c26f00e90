"""Loggers of a configuration become those that a resumed run continues, in the run's own folder.

Lightning's begin a new run at every start, and its CSV logger deletes what it finds. So their names
mean the classes of :mod:`fgexpo.loggers` here, which take the same settings.
"""

from pathlib import Path
from typing import Any

from ..loggers import CSVRun, MLflowRun, WandbRun
from ..robustness.places import loggers_of, setting, told, versioned_folder

_LIGHTNINGS = {"WandbLogger": WandbRun, "MLFlowLogger": MLflowRun, "CSVLogger": CSVRun}
_OURS = [kind.__name__ for kind in _LIGHTNINGS.values()]
# Of Lightning's MLflow logger: a store, in which a run's folder would look like an experiment.
_LIGHTNINGS_STORE = "./mlruns"


def use_our_names(config: Any) -> None:
    """Exchange Lightning's classes for those here, before anything asks where a run's folder is."""
    for logger in loggers_of(config):
        path = str(setting(logger, "class_path"))
        if path.startswith("lightning.") and path.rpartition(".")[2] in _LIGHTNINGS:
            ours = _LIGHTNINGS[path.rpartition(".")[2]]
            logger.class_path = f"{ours.__module__}.{ours.__name__}"
            if ours is MLflowRun and setting(logger, "save_dir") == _LIGHTNINGS_STORE:
                logger.init_args.save_dir = "runs"


def hand_over(config: Any, folder: Path | None, checkpoint: str | None) -> None:
    """Tell the loggers where their run is, and whether it goes on from a checkpoint of its own.

    Args:
        config: whose loggers with versions are settled.
        folder: the run's, if no logger with versions says which.
        checkpoint: that the run starts from.
    """
    place = folder or versioned_folder(config)
    resume = False
    if place is not None and checkpoint is not None:
        resume = Path(checkpoint).resolve().is_relative_to(place.resolve())
    for logger in loggers_of(config):
        kind = str(setting(logger, "class_path")).rpartition(".")[2]
        if kind in _OURS:
            logger.init_args.resume = resume
            if told(logger):
                logger.init_args.folder = None if place is None else str(place)
