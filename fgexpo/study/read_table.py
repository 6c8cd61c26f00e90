"""Reads a study's table that somebody hands over, and checks what its report stands on."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from ..outside import reading
from .table import CORRECT, MODEL, SCHEMA

RUN = ["point", "arm", "base", "seed"]
_NEVER_EMPTY = [*RUN, "tag", "step", "rollouts"]
_OF_QUESTIONS = ["question", "updates", "seconds", "value", "n"]


def read_table(path: str) -> Any:
    """The table as a pandas frame.

    Raises:
        UserError: when it cannot be read, is another kind of table, or lacks what a report needs.
    """
    with reading(path, "a Parquet table of a study", "study"):
        table = pq.ParquetFile(path).read()
        found = table.column_names
        if [*found, MODEL] == SCHEMA.names:
            table = table.append_column(MODEL, pa.nulls(len(table), pa.string()))
            found = table.column_names
        if found == SCHEMA.names:
            table = table.cast(SCHEMA)
    if found != SCHEMA.names:
        raise UserError(f"study: {path!r} is not a table of a study: columns {found}")
    frame: Any = table.to_pandas()
    problem = _problem(frame, frame[frame["tag"] == CORRECT])
    if problem:
        raise UserError(f"study: {path!r} {problem}")
    return frame


def _problem(frame: Any, counts: Any) -> str | None:
    """What a table with the right columns lacks; None for a sound one."""
    for part, columns in ((frame, _NEVER_EMPTY), (counts, _OF_QUESTIONS)):
        for column in columns:
            if part[column].isna().any():
                return f"has rows without {column!r}"
    if len(frame) == 0:
        return "has no rows"
    silent = set(frame[RUN].itertuples(index=False, name=None)) - set(
        counts[counts["step"] == 0][RUN].itertuples(index=False, name=None)
    )
    if silent:
        point, arm, base, seed = min(silent)
        return f"has no scores of step 0 for {point}{arm}, base {base}, seed {seed}"
    if (counts.groupby(RUN)["step"].max() == 0).any():
        return "has a run without any scores after step 0"
    if counts["n"].nunique() != 1 or counts["n"].min() < 1:
        return f"has several numbers of samples a question, {sorted(counts['n'].unique())}"
    whole = (counts["value"] % 1 == 0) & (counts["value"] >= 0)
    if not (whole & (counts["value"] <= counts["n"])).all():
        return f"counts correct samples outside of 0 to {counts['n'].min():.0f}"
    if counts.duplicated([*RUN, "step", "question"]).any():
        return "scores a question twice in the same validation"
    asked = counts.groupby([*RUN, "step"])["question"].agg(lambda names: tuple(sorted(names)))
    for point, by_validation in asked.groupby("point"):
        if by_validation.nunique() != 1:
            where = f" at point {point!r}" if point else ""
            return f"does not judge all runs by the same questions{where}"
    if min(len(names) for names in asked) < 2:
        return "has a single question, which tells nothing about other questions"
    return None
