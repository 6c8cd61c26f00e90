"""The panels that a logger can show, and which loggers show them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from .tensorboard import TensorBoardPanelWriter
from .text_table import Table

__all__ = ["PanelWriter", "Table", "panel_writers"]


class PanelWriter(Protocol):
    """Writes one panel; the tags and the steps are those of the scalars beside it."""

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


@dataclass(frozen=True)
class _Kind:
    logger: type[Logger]
    make: Callable[[Any], PanelWriter]


# A logger that is not here gets scalars and settings only.
KINDS: Sequence[_Kind] = (_Kind(TensorBoardLogger, TensorBoardPanelWriter),)


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
