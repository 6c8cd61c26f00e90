"""Where a run's files go."""

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """The logger's folder of this run, the same on all processes.

    The processes agree on it together, so call it where all of them come by: in ``setup``.
    """
    return Path(trainer.log_dir or trainer.default_root_dir)
