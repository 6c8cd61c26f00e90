"""Rows of a JSON file: a list of objects, one object a line, or a table by its columns."""

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import UserError
from ..outside import reading


def json_columns(path: Path) -> list[str]:
    """Every column that a row has: the first row alone does not tell, since rows may omit some."""
    return list(dict.fromkeys(name for row in json_rows(path, []) for name in row))


def json_rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows, whole.

    Args:
        path: a .jsonl file, or a .json file in any of the three forms.
        columns: unused; every row is decoded anyway.

    Raises:
        UserError: naming the file and the place that is not JSON or not a row.
    """
    with reading(path, path.suffix), path.open(encoding="utf-8-sig") as file:
        whole = path.suffix == ".json" and _is_one_document(file)
        file.seek(0)
        for place, row in _document(file.read(), path) if whole else _lines(file, path):
            if not isinstance(row, dict):
                found = row if isinstance(row, str) else reprlib.repr(row)
                raise UserError(f"{path}: {place} is {found[:40]!r}, expected a JSON object")
            yield row


def _is_one_document(file: TextIO) -> bool:
    lines = (line for line in file if line.strip())
    first = next(lines, "")
    if first.lstrip().startswith("[") or next(lines, None) is None:
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True  # an object over several lines, or a fault that the whole will tell
    return False


def _lines(file: TextIO, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield f"line {number}", _parsed(line, path, number)


def _document(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    found = _parsed(text, path) if text.strip() else []
    rows = found if isinstance(found, list) else _by_columns(found)
    return ((f"row {number}", row) for number, row in enumerate(rows))


def _by_columns(found: Any) -> list[Any]:
    """The rows of one object: a table by its columns, as pandas writes it, or a row itself."""
    columns = list(found.values()) if isinstance(found, dict) else []
    if columns and all(isinstance(column, dict) for column in columns):
        numbers = columns[0].keys()
        if all(number.isdecimal() for number in numbers):
            if any(column.keys() != numbers for column in columns):
                return [found]
            columns = [list(column.values()) for column in columns]
    if not columns or not all(isinstance(column, list) for column in columns):
        return [found]
    if len({len(column) for column in columns}) > 1:
        return [found]
    return [dict(zip(found, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        raise UserError(f"{path}: {place} is not JSON: {error.msg}") from error
    except RecursionError as error:
        place = f"line {line}" if line else "its JSON"
        raise UserError(f"{path}: {place} is nested too deeply to be read") from error
    except ValueError as error:
        raise UserError(f"{path}: line {line or '?'} cannot be read: {error}") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
