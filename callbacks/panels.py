"""Panels beyond scalars: histograms of the pool, and what the policy wrote."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from fgexpo.errors import UserError
from fgexpo.loggers import PanelWriter, Table, panel_writers
from fgexpo.types import RolloutBatch

# Forty equal bins: a logger's own are too coarse to see the frontier.
SHARE_EDGES = np.linspace(0, 1, 41)


class TensorBoardPanels(Callback):
    """Histograms of pass-rates and weights, and a table of graded completions.

    Loggers that have no such panels are skipped.

    Args:
        every_steps: rollout steps between panels.
        samples: completions per table.
    """

    def __init__(self, every_steps: int = 10, samples: int = 8) -> None:
        if every_steps < 1:
            raise UserError(f"panels.every_steps must be at least 1, got {every_steps}")
        self.every_steps = every_steps
        self.samples = samples

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the panels every ``every_steps`` rollout steps."""
        step = pl_module.rollout_step
        if step % self.every_steps:
            return
        for writer in panel_writers(trainer):
            self._write(writer, trainer, batch, step)

    def _write(self, writer: PanelWriter, trainer: Any, batch: RolloutBatch, step: int) -> None:
        data = trainer.datamodule
        table, sampler = getattr(data, "table", None), getattr(data, "sampler", None)
        if table is not None and sampler is not None:
            rates = table.pass_rates[table.visits > 0].numpy()
            weights = sampler.weights.numpy()
            writer.histogram("curriculum/pass_rates_seen", rates, SHARE_EDGES, step)
            writer.histogram("curriculum/weights", weights, weight_edges(weights), step)
        lengths = batch.completions.lengths_N.cpu().numpy()
        writer.histogram("completions/length", lengths, length_edges(lengths), step)
        writer.table("completions", completions_table(batch, self.samples), step)


def weight_edges(weights: np.ndarray) -> np.ndarray:
    """Forty bins from 0 to the largest weight, so that equal weights are drawn as one bar."""
    return np.linspace(0, max(float(weights.max(initial=0)), 1), 41)


def length_edges(lengths: np.ndarray) -> np.ndarray:
    """About forty bins of whole tokens, from 0 past the longest completion."""
    longest = int(lengths.max(initial=1)) + 1
    width = -(-longest // 40)
    return np.arange(0, longest + width, width) - 0.5


def completions_table(batch: RolloutBatch, samples: int) -> Table:
    """One completion of each of the first questions."""
    shown = zip(batch.source.questions[:samples], batch.groups.rows, strict=False)
    rows = [
        (
            question.prompt,
            question.answer,
            batch.texts[rows.start],
            bool(batch.correct_N[rows.start]),
            float(batch.reward_N[rows.start]),
            batch.completions.finish[rows.start],
        )
        for question, rows in shown
    ]
    return Table(("question", "gold", "completion", "correct", "reward", "end"), rows)
