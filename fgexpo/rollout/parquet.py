"""Graded rollouts as a parquet table, one row per rollout."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import whole_file
from ..types import RolloutBatch


def table_columns(batch: RolloutBatch, advantages_N: Tensor | None = None) -> dict[str, list[Any]]:
    """What was asked, what came back, and what it earned.

    Args:
        batch: N rollouts.
        advantages_N: in training; elsewhere the column is 0.
    """
    advantages_N = torch.zeros(len(batch.texts)) if advantages_N is None else advantages_N
    questions = batch.groups.each(batch.source.questions)
    return {
        "dataset": [batch.source.dataset] * len(questions),
        "question_id": [question.id for question in questions],
        "sample": batch.groups.samples(),
        "prompt": [question.prompt for question in questions],
        "gold": [question.answer for question in questions],
        "completion": batch.texts,
        "answer": [verdict.answer for verdict in batch.verdicts],
        "tokens": batch.completions.lengths_N.tolist(),
        "finish": list(batch.completions.finish),
        "correct": batch.correct_N.tolist(),
        "timed_out": [verdict.timed_out for verdict in batch.verdicts],
        "reward": batch.reward_N.tolist(),
        "advantage": advantages_N.tolist(),
    }


def write_rollouts(batch: RolloutBatch, path: Path, advantages_N: Tensor | None = None) -> None:
    """Write the file whole or not at all; see :func:`table_columns`."""
    from pyarrow import Table, array, parquet, string

    columns: dict[str, Any] = table_columns(batch, advantages_N)
    # The type is explicit, since a batch may have no answer at all.
    columns["answer"] = array(columns["answer"], string())
    with whole_file(path) as partial:
        parquet.write_table(Table.from_pydict(columns), partial)
