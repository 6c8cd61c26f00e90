"""A folder of its own for every run, whatever its loggers are."""

import re
from pathlib import Path
from weakref import WeakKeyDictionary

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

_settled: "WeakKeyDictionary[Trainer, Path]" = WeakKeyDictionary()


def run_folder(trainer: Trainer) -> Path:
    """The folder of this run, the same on all processes.

    It is that of the first logger with a folder for each run (TensorBoard, CSV), or the one that a
    logger was given. Other loggers have one for all runs; the run then claims a ``version_N`` below
    it. The command line settles it for a run without a logger too; without the command line,
    such a run has ``default_root_dir``.

    The processes agree on it together, so call it where all of them do: in ``setup``.
    """
    own = trainer.global_rank == 0
    return Path(trainer.strategy.broadcast(str(_folder(trainer)) if own else ""))


def settle(trainer: Trainer, folder: Path) -> None:
    """Choose the folder of a run, on its first process."""
    _settled[trainer] = folder


def claim_version(root: str | Path) -> Path:
    """Make the next free ``version_N``; two runs never get the same one."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    taken = [re.fullmatch(r"version_(\d+)", path.name) for path in root.iterdir()]
    number = max((int(found[1]) for found in taken if found), default=-1) + 1
    while True:
        folder = root / f"version_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def version_name(version: int | str) -> str:
    """A run's folder below those of its name: ``version_3`` for 3, and a text for itself."""
    return f"version_{version}" if str(version).isdigit() else str(version)


def _folder(trainer: Trainer) -> Path:
    if trainer in _settled:
        return _settled[trainer]
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger | CSVLogger):
            return Path(logger.log_dir)
    given = (getattr(logger, "folder", None) for logger in trainer.loggers)
    if folder := next(filter(None, given), None):
        return Path(folder)
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    root = Path(logger.save_dir or trainer.default_root_dir)
    settle(trainer, claim_version(root / logger.name if logger.name else root))
    return _settled[trainer]
