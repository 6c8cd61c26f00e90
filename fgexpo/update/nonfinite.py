"""Numbers that are not finite: the update is left out, kept for study, and not for ever."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RunStopped
from ..files import whole_file
from ..parallel.sharding import own_part
from .batch import TrainingBatch
from .rollout_loss import of_rows


class NonFiniteUpdates:
    """Counts updates that were left out, and writes their batches down.

    Args:
        limit: this many in a row end the run.

    Attributes:
        in_a_row: updates left out since the last one that was made.
        folder: where batches are written.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = 0
        self.folder = Path()

    def leave_out(self, record: dict[str, Any], update: int, rank: int) -> None:
        """Write the record and count.

        Args:
            record: what it takes to repeat the update, its ``rollout_step`` and its numbers.
            update: which optimizer step of the rollout step.
            rank: this process.

        Raises:
            RunStopped: when the limit is reached, naming the file.
        """
        path = self.folder / f"step={record['rollout_step']:06d}-update={update}-rank={rank}.pt"
        with whole_file(path) as partial:
            torch.save(record, partial)
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            raise RunStopped(
                f"rollout step {record['rollout_step']}: {self.in_a_row} updates in a row had "
                f"numbers that are not finite (loss {record['loss']}, gradient norm "
                f"{record['grad_norm']}, {record['nonfinite/tokens']:.0f} tokens' log-probs on "
                f"this process); none of them was made, and the last one's batch is in {path}; "
                "model.max_nonfinite_updates sets how many are let pass"
            )


def batch_record(batch: TrainingBatch, rows: Tensor, beta: float | Tensor) -> dict[str, Any]:
    """What it takes to repeat an update: plain values and tensors, loadable as weights are."""
    part = batch.sequences.select(rows)
    asked = batch.groups.each(batch.source.questions)
    questions = [asked[row].id for row in rows.tolist()]
    record = {
        "questions": questions,
        "tokens": part.tokens_NL,
        "prompt_lengths": part.prompt_lengths_N,
        "completion_lengths": part.completion_lengths_N,
        "rewards": batch.reward_N[rows],
        "advantages": batch.advantages_N[rows],
        "weights": None if batch.weight_N is None else batch.weight_N[rows],
        "beta": of_rows(beta, rows),
        "engine_logp": batch.completions.logp_NT[rows],
        "old_logp": batch.old_logp_NT[rows],
        "ref_logp": None if batch.ref_logp_NT is None else batch.ref_logp_NT[rows],
    }
    return {name: x.cpu() if isinstance(x, Tensor) else x for name, x in record.items()}


def nonfinite_weight(policy: nn.Module) -> str | None:
    """The name of a weight that is not finite, as far as this process holds it; None if all are."""
    for name, weight in policy.named_parameters():
        part = own_part(weight)
        # The largest magnitude passes NaN and infinity on, and needs no copy of the weight.
        if part.numel() and not torch.linalg.vector_norm(part, float("inf")).isfinite():
            return name
    return None
