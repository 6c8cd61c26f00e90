"""Panels in TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,  # pyright: ignore[reportAttributeAccessIssue]
)
from torch.utils.tensorboard.summary import hparams

from .text_table import Table, markdown


class TensorBoardPanelWriter:
    """Writes to the Histograms, Images and Text tabs."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger

    @property
    def writer(self) -> Any:
        """The event file, which is begun by asking for it."""
        return self.logger.experiment

    @property
    def place(self) -> str:
        """The folder of the event files."""
        return self.logger.log_dir

    def histogram(self, tag: str, values: Any, edges: np.ndarray, step: int) -> None:
        """Write a histogram with these bins: TensorBoard's own grow by a tenth of the value."""
        self.writer.add_histogram(tag, values, step, bins=edges)

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write a picture."""
        self.writer.add_image(tag, pixels, step, dataformats="HWC")

    def table(self, tag: str, table: Table, step: int) -> None:
        """Write it as Markdown."""
        self.writer.add_text(tag, markdown(table), step)

    def settings(
        self, values: Mapping[str, Any], scores: Sequence[str], first: Sequence[str]
    ) -> None:
        """Write a row of the HParams tab, in which the scores are the last values of their tags.

        It goes to the run's own event file: ``SummaryWriter.add_hparams`` would make another run.
        """
        experiment, start, _ = hparams(dict(values), dict.fromkeys(scores, 0.0))
        _show_first(experiment, first)
        self.writer.file_writer.add_summary(experiment)
        self.writer.file_writer.add_summary(start)


def _show_first(experiment: Any, names: Sequence[str]) -> None:
    """Mark settings in an experiment's summary as those that differ between runs."""
    # TensorBoard shows five columns at first, in alphabetical order except for this mark.
    plugin = experiment.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(plugin.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in names
    plugin.content = data.SerializeToString()
