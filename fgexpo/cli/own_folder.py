"""A run's own folder, claimed before its loggers are made; its configuration is kept there.

Lightning's loggers look for the next free version when they first write, so two runs that start at
the same moment could get the same one. Loggers that a resumed run continues are told its folder.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from ..files import run_folder, settle, write_text
from ..parallel.launched import is_first
from ..robustness.places import claim_folders, stay_in_folder
from .adopt_loggers import hand_over


@contextmanager
def own_folder(config: Any, resumed: Path | None) -> Iterator[Callable[[Trainer], None]]:
    """While the block makes the classes, the configuration names a folder that no other run has.

    Afterwards it is as it was: a configuration that is used again must not name the same folder.

    Args:
        config: a subcommand's configuration, not yet instantiated.
        resumed: the checkpoint of this same run that it goes on from.

    Yields:
        What tells the trainer, once it is made.
    """
    logger = deepcopy(config.trainer.get("logger"))
    claimed: list[Path] = []
    folder: Path | None = None
    if is_first() and not config.trainer.get("fast_dev_run"):
        folder = None if resumed is None else stay_in_folder(config, resumed)
        if folder is None:
            claimed, folder = claim_folders(config)
        hand_over(config, folder, config.get("ckpt_path"))

    def tell(trainer: Trainer) -> None:
        if folder is not None:
            settle(trainer, folder)

    try:
        yield tell
    except BaseException:
        for path in claimed:
            with suppress(OSError):  # it is not empty, so something is using it
                path.rmdir()
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
