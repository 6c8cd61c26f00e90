"""Rows of one local file, whose suffix tells the format.

Rows are Python dictionaries with the file's own values: nothing is cast to one type per column, so
a column may hold answers such as 27.0 and 5, and nested values stay nested.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import ipc, parquet

from ..errors import UserError
from ..outside import reading
from .json_rows import json_columns, json_rows

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


def _parquet_columns(path: Path) -> list[str]:
    with reading(path, path.suffix):
        return list(parquet.read_schema(path).names)


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    with reading(path, path.suffix), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=columns):
            yield from batch.to_pylist()


def _arrow_columns(path: Path) -> list[str]:
    with reading(path, path.suffix), pyarrow.memory_map(str(path)) as file:
        return list(ipc.open_stream(file).schema.names)


def _arrow_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    with reading(path, path.suffix), pyarrow.memory_map(str(path)) as file:
        for batch in ipc.open_stream(file):
            yield from batch.select(columns).to_pylist()


def _csv_columns(path: Path) -> list[str]:
    with reading(path, path.suffix), path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file), [])
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: two columns are named {twice[0]!r}")
    return names


def _csv_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    with reading(path, path.suffix), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="")
        for row in reader:
            if "" in row and "" not in (reader.fieldnames or ()):
                raise UserError(
                    f"{path}: line {reader.line_num} has more fields than the header's "
                    f"{len(reader.fieldnames or ())}"
                )
            yield row


# The order in which a folder's files are preferred; .json last, as folders hold it for other ends.
# An .arrow file is what `save_to_disk` of the library datasets writes.
FORMATS = {
    ".parquet": Format(_parquet_columns, _parquet_rows),
    ".jsonl": Format(json_columns, json_rows),
    ".csv": Format(_csv_columns, _csv_rows),
    ".arrow": Format(_arrow_columns, _arrow_rows),
    ".json": Format(json_columns, json_rows),
}
