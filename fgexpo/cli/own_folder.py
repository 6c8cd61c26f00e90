"""A run's own folder, claimed before its loggers are made; its configuration is kept there.

Lightning's loggers look for the next free version when they first write, so two runs that start at
the same moment could get the same one. Loggers that a resumed run continues are told its folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from ..files import run_folder, settle, write_text
from ..parallel.launched import is_first
from ..robustness.places import claim_folders, stay_in_folder
from .adopt_loggers import hand_over

# What a run that has done nothing may have written.
EMPTY = ("config.yaml", "hparams.yaml", "events.out.tfevents.*", "checkpoints", "metrics.csv")


@dataclass
class OwnFolder:
    """A run's folder.

    Attributes:
        folder: of a run whose logger has none for each run; None for others.
        claimed: folders that were made for this run, inner before outer.
    """

    folder: Path | None = None
    claimed: list[Path] = field(default_factory=list)

    def settle(self, trainer: Trainer) -> None:
        """Tell the trainer, once it is made."""
        if self.folder is not None:
            settle(trainer, self.folder)

    def give_back(self) -> None:
        """Remove what was made for a run that was refused before it did anything."""
        for path in self.claimed:
            inside = [*path.iterdir()] if path.is_dir() else []
            if any(not _is_nothing(each) for each in inside):
                return  # work is in it, so all of it stays, and the folders around it
            for each in inside:
                each.rmdir() if each.is_dir() else each.unlink()
            with suppress(OSError):  # it is not empty, so something is using it
                path.rmdir()


def _is_nothing(path: Path) -> bool:
    """Whether a run that has done nothing may have written this file, or this empty folder."""
    empty = not path.is_dir() or not any(path.iterdir())
    return empty and any(map(path.match, EMPTY))


@contextmanager
def own_folder(config: Any, resumed: Path | None) -> Iterator[OwnFolder]:
    """While the block makes the classes, the configuration names a folder that no other run has.

    Afterwards it is as it was: a configuration that is used again must not name the same folder.

    Args:
        config: a subcommand's configuration, not yet instantiated.
        resumed: the checkpoint of this same run that it goes on from.

    Yields:
        The folder.
    """
    logger = deepcopy(config.trainer.get("logger"))
    own = OwnFolder()
    if is_first() and not config.trainer.get("fast_dev_run"):
        own.folder = None if resumed is None else stay_in_folder(config, resumed)
        if own.folder is None:
            own.claimed, own.folder = claim_folders(config)
        hand_over(config, own.folder, config.get("ckpt_path"))
    try:
        yield own
    except BaseException:
        own.give_back()
        raise
    finally:
        config.trainer.logger = logger


class SaveConfig(SaveConfigCallback):
    """Keeps the configuration in the run's own folder, under loggers that have one for all runs."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it once, on the first process."""
        folder = run_folder(trainer)
        if trainer.is_global_zero and not self.already_saved:
            text = self.parser.dump(self.config, skip_none=False)
            name = self.config_filename
            if stage != "fit" and (folder / name).exists():
                assert trainer.state.fn is not None
                # It evaluates a run in its folder, and trains nothing.
                name = f"{trainer.state.fn.value}-{name}"
            write_text(folder / name, text)
        self.already_saved = True
