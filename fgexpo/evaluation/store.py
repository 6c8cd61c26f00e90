"""Every graded completion on disk, so that a killed evaluation can resume."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ..errors import UserError
from ..files import write_json
from ..outside import reading
from ..rollout.parquet import write_rollouts
from ..seeding import hash_seed
from ..types import RolloutBatch
from .evaluator import vote

IDENTITY = "identity.json"
_COLUMNS = {
    **dict.fromkeys(("question_id", "answer", "finish"), "string"),
    **dict.fromkeys(("sample", "tokens"), "int64"),
    **dict.fromkeys(("correct", "timed_out"), "bool"),
}


class EvaluationStore:
    """A folder of parquet files, ``completions/<dataset>/*.parquet``, of one evaluation.

    Args:
        folder: output folder; created if it does not exist.
        identity: everything that completions and grades depend on: model, template, sampling,
            questions and so on.
        write: whether this process writes the description of a new folder.

    Raises:
        UserError: when the folder holds another evaluation's completions.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], write: bool = True) -> None:
        self.folder = folder
        path = folder / IDENTITY
        if path.is_file():
            with reading(path, "the JSON of an evaluation's identity", "report.folder"):
                saved = json.loads(path.read_text())
                if not isinstance(saved, dict):
                    raise UserError(f"report.folder: {str(path)!r} holds no JSON object")
            _check_same(folder, saved, identity)
        elif write:
            write_json(path, identity)

    def add(self, batch: RolloutBatch, rank: int) -> None:
        """Save a batch's rollouts."""
        # Two batches may begin with the same question, if some questions were already known.
        asked = hash_seed(*(question.id for question in batch.source.questions))
        name = f"question={int(batch.source.index_Q[0]):05d}-{asked:016x}-rank={rank}.parquet"
        write_rollouts(batch, self.folder / "completions" / batch.source.dataset / name)

    def completions(self, dataset: str) -> Iterator[dict[str, Any]]:
        """Every rollout saved, as :func:`.table_columns` names its columns."""
        from pyarrow import parquet

        for path in sorted((self.folder / "completions" / dataset).glob("*.parquet")):
            with reading(path, "a Parquet file of completions"):
                rows = parquet.read_table(path).to_pylist()
            yield from rows

    def load(self, dataset: str, n: int) -> dict[str, Tensor]:
        """Samples of the questions that are finished, [5, n] each, by id.

        A question counts if all n samples are there. A file that cannot be read is skipped with a
        warning.
        """
        samples: dict[str, dict[int, list[int]]] = {}
        for path in sorted((self.folder / "completions" / dataset).glob("*.parquet")):
            for row in _rows(path):
                samples.setdefault(row["question_id"], {})[row["sample"]] = _fields(row)
        return {
            question: torch.tensor([found[sample] for sample in range(n)]).T
            for question, found in samples.items()
            if found.keys() >= set(range(n))
        }


def _rows(path: Path) -> list[dict[str, Any]]:
    from pyarrow import Table, parquet, schema

    columns = schema(list(_COLUMNS.items()))
    try:
        with reading(path, "a Parquet file of completions"):
            found: Table = parquet.ParquetFile(path).read(columns.names).select(columns.names)
            rows = found.cast(columns).to_pylist()
            # Only an answer may be missing.
            if any(None in {**row, "answer": ""}.values() for row in rows):
                raise UserError(f"{str(path)!r} has empty cells")
    except UserError as error:
        rank_zero_warn(f"{error}; its questions are asked again")
        return []
    return rows


def _fields(row: dict[str, Any]) -> list[int]:
    return [
        int(row["correct"]),
        vote(row["answer"]),
        row["tokens"],
        int(row["finish"] == "length"),
        int(row["timed_out"]),
    ]


def _check_same(folder: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, value in now.items():
        if saved.get(name) != value:
            raise UserError(
                f"report.folder: {str(folder)!r} holds an evaluation with {name} = "
                f"{saved.get(name)!r}, and this one has {value!r}; choose another folder"
            )
