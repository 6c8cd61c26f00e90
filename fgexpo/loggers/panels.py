"""The panels that a logger can show, and which loggers show them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from .csv import CSVPanelWriter
from .mlflow import MLflowPanelWriter
from .tensorboard import TensorBoardPanelWriter
from .text_table import Table
from .wandb import WandbPanelWriter

__all__ = ["PanelWriter", "Table", "panel_writers"]


class PanelWriter(Protocol):
    """Writes one panel; the tags and the steps are those of the scalars beside it."""

    @property
    def place(self) -> str:
        """What tells this run in this logger from all others."""
        ...

    def histogram(self, tag: str, values: Any, edges: np.ndarray, step: int) -> None:
        """Write how many of the values lie between each two edges."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write a picture.

        Args:
            tag: the panel's name.
            pixels: [height, width, 3], 0 to 255.
            step: the rollout step.
        """

    def table(self, tag: str, table: Table, step: int) -> None:
        """Write a table of texts and numbers."""

    def settings(
        self,
        values: Mapping[str, str | float | None],
        scores: Sequence[str],
        first: Sequence[str],
    ) -> None:
        """Write what the run's settings are.

        Args:
            values: by name.
            scores: the tags to show beside them, where a logger compares runs.
            first: the names to show first.
        """


@dataclass(frozen=True)
class _Kind:
    logger: type[Logger]
    make: Callable[[Any], PanelWriter]


# A logger that is not here gets scalars and settings only.
KINDS: Sequence[_Kind] = (
    _Kind(TensorBoardLogger, TensorBoardPanelWriter),
    _Kind(WandbLogger, WandbPanelWriter),
    _Kind(MLFlowLogger, MLflowPanelWriter),
    _Kind(CSVLogger, CSVPanelWriter),
)


def panel_writers(trainer: Trainer) -> list[PanelWriter]:
    """One for each of the run's loggers that can show panels; none but on the first process."""
    if not trainer.is_global_zero:
        return []
    return [
        kind.make(logger)
        for logger in trainer.loggers
        for kind in KINDS
        if isinstance(logger, kind.logger)
    ]
