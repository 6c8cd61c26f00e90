"""TensorBoard panels beyond scalars: histograms of the pool, and what the policy wrote."""

from html import escape
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from fgexpo.errors import UserError
from fgexpo.types import RolloutBatch

from .tensorboard import tensorboard_loggers

# TensorBoard's own buckets grow by a tenth of the value: too coarse to see the frontier.
PASS_RATE_EDGES = np.linspace(0, 1, 41)


class TensorBoardPanels(Callback):
    """Histograms of pass-rates and weights, and a table of graded completions.

    Other loggers are skipped, since they have no such panels.

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
        for logger in tensorboard_loggers(trainer):
            self._write(logger.experiment, trainer, batch, step)

    def _write(self, writer: Any, trainer: Any, batch: RolloutBatch, step: int) -> None:
        data = trainer.datamodule
        table, sampler = getattr(data, "table", None), getattr(data, "sampler", None)
        if table is not None and sampler is not None:
            seen = table.visits > 0
            rates = table.pass_rates[seen]
            writer.add_histogram("curriculum/pass_rates_seen", rates, step, bins=PASS_RATE_EDGES)
            writer.add_histogram("curriculum/weights", sampler.weights, step)
        writer.add_histogram("completions/length", batch.completions.lengths_N, step)
        writer.add_text("completions", completions_table(batch, self.samples), step)


def completions_table(batch: RolloutBatch, samples: int) -> str:
    """One completion of each of the first questions: a Markdown table with all markup escaped."""
    head = ("question", "gold", "completion", "correct", "reward", "end")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    shown = zip(batch.source.questions[:samples], batch.groups.rows, strict=False)
    for question, rows in shown:
        n = rows.start
        cells = [
            question.prompt,
            question.answer,
            batch.texts[n],
            str(bool(batch.correct_N[n])),
            f"{float(batch.reward_N[n]):.2f}",
            batch.completions.finish[n],
        ]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def _cell(text: str, longest: int = 2000) -> str:
    # A backtick or a pipe would end the cell; a policy may write either, or HTML.
    text = escape(text[:longest])
    for character in "|`\\*_[]":
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("\n", "<br>")
