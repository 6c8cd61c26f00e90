"""Graded rollouts as a parquet table, one row a rollout."""

import os
from pathlib import Path
from typing import Any

from ..types import RolloutBatch


def rollout_columns(batch: RolloutBatch) -> dict[str, list[Any]]:
    """What was asked, what came back, and what it earned."""
    questions = [q for q in batch.source.questions for _ in range(batch.group_size)]
    return {
        "dataset": [batch.source.dataset] * len(questions),
        "question_id": [question.id for question in questions],
        "sample": list(range(batch.group_size)) * len(batch.source),
        "prompt": [question.prompt for question in questions],
        "gold": [question.answer for question in questions],
        "completion": batch.texts,
        "answer": [verdict.answer for verdict in batch.verdicts],
        "tokens": batch.completions.lengths_N.tolist(),
        "finish": list(batch.completions.finish),
        "correct": batch.correct_N.tolist(),
        "timed_out": [verdict.timed_out for verdict in batch.verdicts],
        "reward": batch.reward_N.tolist(),
        "advantage": batch.advantages_N.tolist(),
    }


def write_rollouts(batch: RolloutBatch, path: Path) -> None:
    """Write the file whole or not at all."""
    from pyarrow import Table, array, parquet, string

    columns: dict[str, Any] = rollout_columns(batch)
    # The type is told, since a batch may have no answer at all.
    columns["answer"] = array(columns["answer"], string())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    parquet.write_table(Table.from_pydict(columns), partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())  # else a power cut may leave the name without the content
    partial.replace(path)
