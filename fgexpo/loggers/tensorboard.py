"""Panels in TensorBoard."""

from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from .text_table import Table, markdown


class TensorBoardPanelWriter:
    """Writes to the Histograms, Images and Text tabs."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger

    @property
    def writer(self) -> Any:
        """The event file, which is begun by asking for it."""
        return self.logger.experiment

    def histogram(self, tag: str, values: Any, edges: np.ndarray, step: int) -> None:
        """Write a histogram with these bins: TensorBoard's own grow by a tenth of the value."""
        self.writer.add_histogram(tag, values, step, bins=edges)

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write a picture."""
        self.writer.add_image(tag, pixels, step, dataformats="HWC")

    def table(self, tag: str, table: Table, step: int) -> None:
        """Write it as Markdown."""
        self.writer.add_text(tag, markdown(table), step)
