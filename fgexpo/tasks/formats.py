"""Rows of one local file, whose suffix tells the format.

Rows are Python dictionaries with the file's own values: nothing is cast to one type per column, so
a column may hold answers such as 27.0 and 5, and nested values stay nested.
"""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import parquet

from ..errors import UserError

Row = dict[str, Any]
BATCH = 4096  # rows held at once


class Format(NamedTuple):
    """How files of one suffix are read.

    Attributes:
        columns: names of a file's columns.
        rows: a file's rows, with these columns at least.
    """

    columns: Callable[[Path], list[str]]
    rows: Callable[[Path, list[str]], Iterator[Row]]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file that cannot be read."""
    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError, csv.Error, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read as {path.suffix}: {reason}") from error


def _parquet_columns(path: Path) -> list[str]:
    with _readable(path):
        return list(parquet.read_schema(path).names)


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    with _readable(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=columns):
            yield from batch.to_pylist()


def _csv_columns(path: Path) -> list[str]:
    with _readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: two columns are named {twice[0]!r}")
    return names


def _csv_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    with _readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="")
        for row in reader:
            if "" in row and "" not in (reader.fieldnames or ()):
                raise UserError(
                    f"{path}: line {reader.line_num} has more fields than the header's "
                    f"{len(reader.fieldnames or ())}"
                )
            yield row


def _json_columns(path: Path) -> list[str]:
    # Rows may omit columns, so the first row alone does not tell all of them.
    return list(dict.fromkeys(name for row in _json_rows(path, []) for name in row))


def _json_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    with _readable(path), path.open(encoding="utf-8-sig") as file:
        if path.suffix == ".json" and file.read(4096).lstrip()[:1] == "[":
            file.seek(0)
            places = ((f"row {i}", row) for i, row in enumerate(_parsed(file.read(), path)))
        else:
            file.seek(0)
            places = (
                (f"line {i}", _parsed(line, path, i))
                for i, line in enumerate(file, start=1)
                if line.strip()
            )
        for place, row in places:
            if not isinstance(row, dict):
                raise UserError(f"{path}: {place} is {str(row)[:40]!r}, expected a JSON object")
            yield row


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        raise UserError(f"{path}: {place} is not JSON: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{path}: line {line or '?'} cannot be read: {error}") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


# The order in which a folder's files are preferred; .json last, as folders hold it for other ends.
FORMATS = {
    ".parquet": Format(_parquet_columns, _parquet_rows),
    ".jsonl": Format(_json_columns, _json_rows),
    ".csv": Format(_csv_columns, _csv_rows),
    ".json": Format(_json_columns, _json_rows),
}
