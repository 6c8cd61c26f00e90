"""Panels beyond scalars: histograms of the pool, and what the policy wrote."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from fgexpo.errors import UserError
from fgexpo.loggers import PanelWriter, panel_writers
from fgexpo.types import RolloutBatch

from .group_table import group_table, with_signal

# Forty equal bins: a logger's own are too coarse to see the frontier.
SHARE_EDGES = np.linspace(0, 1, 41)


class TensorBoardPanels(Callback):
    """Histograms of pass-rates and weights, and a table of one question's rollouts.

    Loggers that have no such panels are skipped.

    Args:
        every_steps: rollout steps between panels.
        samples: rollouts in the table at most; null for the whole group.

    Raises:
        UserError: for a number below 1.
    """

    def __init__(self, every_steps: int = 10, samples: int | None = None) -> None:
        for name, value in {"every_steps": every_steps, "samples": samples}.items():
            if value is not None and value < 1:
                raise UserError(f"panels.{name} must be at least 1, got {value}")
        self.every_steps = every_steps
        self.samples = samples

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the panels every ``every_steps`` rollout steps; a supervised run has none."""
        step = pl_module.rollout_step
        if step % self.every_steps or not isinstance(batch, RolloutBatch):
            return
        for writer in panel_writers(trainer):
            self._write(writer, trainer, pl_module, batch, step)

    def _write(
        self, writer: PanelWriter, trainer: Any, pl_module: Any, batch: RolloutBatch, step: int
    ) -> None:
        data = trainer.datamodule
        table, sampler = getattr(data, "table", None), getattr(data, "sampler", None)
        if table is not None and sampler is not None:
            rates = table.pass_rates[table.visits > 0].numpy()
            weights = sampler.weights.numpy()
            writer.histogram("curriculum/pass_rates_seen", rates, SHARE_EDGES, step)
            writer.histogram("curriculum/weights", weights, weight_edges(weights), step)
        lengths = batch.completions.lengths_N.cpu().numpy()
        writer.histogram("completions/length", lengths, length_edges(lengths), step)
        shown = with_signal(batch, pl_module.advantages)
        writer.table("completions", group_table(batch, shown, self.samples), step)


def weight_edges(weights: np.ndarray) -> np.ndarray:
    """Bins from 0 to the largest weight, so that equal weights are drawn as one bar.

    There are 200, since a few visits move a weight by a hundredth only.
    """
    return np.linspace(0, max(float(weights.max(initial=0)), 1), 201)


def length_edges(lengths: np.ndarray) -> np.ndarray:
    """About forty bins of whole tokens, from 0 past the longest completion."""
    longest = int(lengths.max(initial=1)) + 1
    width = -(-longest // 40)
    return np.arange(0, longest + width, width) - 0.5
