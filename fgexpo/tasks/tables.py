"""Rows of named columns, from a local file or folder or from the Hugging Face Hub.

The network is never asked for what exists locally: a folder may mirror a hub id.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .formats import BATCH, FORMATS, Row

_SPLITS = ("train", "test", "validation", "valid", "val", "dev")
_LOCAL = ("data", "datasets", "checkpoints", "runs")  # first path parts that never name a hub user
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Table:
    """Rows of named columns.

    Attributes:
        name: the file, folder or hub id, for messages.
        columns: names of the columns.
        read: yields rows with the wanted columns.
    """

    name: str
    columns: list[str]
    read: Callable[[list[str]], Iterator[Row]]

    def rows(self, paths: Iterable[str]) -> Iterator[Row]:
        """Rows with the columns that these paths lead into.

        Args:
            paths: see :meth:`value`.

        Raises:
            UserError: when a path's column does not exist.
        """
        wanted = {path if path in self.columns else path.partition(".")[0] for path in paths}
        missing = sorted(wanted - set(self.columns))
        if missing:
            has = ", ".join(self.columns) or "none"
            raise UserError(f"{self.name}: no column {missing[0]!r}; it has {has}")
        return self.read([column for column in self.columns if column in wanted])

    @staticmethod
    def value(row: Row, path: str) -> Any:
        """A row's value at a path; None if there is none.

        Args:
            row: a row.
            path: a column; dots descend into structs, and numbers into lists:
                ``reward_model.ground_truth``, ``prompt.0.content``.
        """
        if path in row:
            return row[path]
        value: Any = row
        for part in path.split("."):
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value


def open_table(
    where: str, root: str | None = None, subset: str | None = None, split: str | None = None
) -> Table:
    """Find rows by a local path or a hub id.

    Args:
        where: a file (.parquet, .jsonl, .csv, .json or .arrow), a folder of such files, as
            ``save_to_disk`` of the library datasets writes one too, or ``owner/name`` on the
            Hugging Face Hub.
        root: folder where ``where``, or a copy of the hub's repository, is first looked for.
        subset: the hub's configuration, and the folder of that name in a local folder.
        split: the hub's split, and the files named after it in a local folder.

    Raises:
        UserError: when nothing is found, or it is not clear which files are meant.
    """
    found = find_local(where, root)
    if found is not None:
        return local_table(found, subset, split)
    if _looks_local(where):
        under = f", nor under data.root = {root!r}" if root else ""
        raise UserError(f"question file {where!r} does not exist{under}")
    return _hub_table(where, subset, split)


def find_local(where: str, root: str | None) -> Path | None:
    """The local file or folder, if it exists: under the root, else as given."""
    path = Path(where).expanduser()
    places = [path]
    if root is not None:
        under = Path(root).expanduser()
        mirror = [under / path.name] if _HUB_ID.fullmatch(where) else []
        places = [under / path, *mirror, path]
    return next((place for place in places if place.exists()), None)


def local_table(path: Path, subset: str | None = None, split: str | None = None) -> Table:
    """The rows of one file, or of a folder's files, in the order of their names.

    Raises:
        UserError: when the format is unknown, or it is not clear which files are meant.
    """
    files = [path] if path.is_file() else _files(path, subset, split)
    if path.is_file() and path.suffix not in FORMATS:
        raise UserError(
            f"{path}: expected a .jsonl, .json, .csv or .parquet file, or an .arrow one"
        )
    kind = FORMATS[files[0].suffix]
    names = list(dict.fromkeys(name for file in files for name in kind.columns(file)))

    def read(columns: list[str]) -> Iterator[Row]:
        for file in files:
            yield from kind.rows(file, columns)

    return Table(str(path), names, read)


def _files(folder: Path, subset: str | None, split: str | None) -> list[Path]:
    """A folder's files of one format, subset and split."""
    base = folder / subset if subset and (folder / subset).is_dir() else folder
    inside = sorted(path for path in base.rglob("*") if path.is_file() and not _hidden(path, base))
    by_format = ([p for p in inside if p.suffix == suffix] for suffix in FORMATS)
    files = next(filter(None, by_format), [])
    if not files:
        raise UserError(f"{base}: no .parquet, .jsonl, .csv, .json or .arrow file in this folder")
    words = {file: set(re.split(r"\W|_", str(file.relative_to(base)))) for file in files}
    splits = [name for name in _SPLITS if any(name in found for found in words.values())]
    if split is None and len(splits) > 1:
        raise UserError(f"{base}: has the splits {', '.join(splits)}, expected one as `split`")
    if split is not None:
        named = [file for file in files if split in words[file]]
        if not named and splits:
            raise UserError(f"{base}: no split {split!r}; it has {', '.join(splits)}")
        files = named or files
    folders = sorted({str(file.parent.relative_to(base)) for file in files})
    if len(folders) > 1:
        raise UserError(
            f"{base}: has files in the folders {', '.join(folders)}, expected one as `subset`"
        )
    return files


def _hidden(path: Path, base: Path) -> bool:
    """Whether nobody means it: hidden, or what the library datasets keeps of its own work."""
    cached = path.name.startswith("cache-") and path.suffix == ".arrow"
    return cached or any(part.startswith(".") for part in path.relative_to(base).parts)


def _looks_local(where: str) -> bool:
    path = Path(where)
    return (
        path.suffix in (*FORMATS, ".txt", ".tsv", ".gz", ".zip")
        or not _HUB_ID.fullmatch(where)
        or where.startswith((".", "~"))
        or path.parts[0] in _LOCAL
    )


def _hub_table(name: str, subset: str | None, split: str | None) -> Table:
    # Imported here: it takes a second, and local files do not need it.
    from datasets import Dataset, DatasetDict, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        found = load_dataset(name, subset, split=split)
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        asked = ", ".join(
            f"{key} {value!r}" for key, value in (("subset", subset), ("split", split)) if value
        )
        raise UserError(
            f"{name!r}{asked and f' ({asked})'} could not be loaded from the Hugging Face Hub: "
            f"{reason}; without a network, set --data.root to a folder that holds a copy"
        ) from error
    if isinstance(found, DatasetDict):
        if len(found) > 1:
            splits = ", ".join(map(str, found))
            raise UserError(f"{name!r}: has the splits {splits}, expected one as `split`")
        found = next(iter(found.values()))
    assert isinstance(found, Dataset)
    dataset = found

    def read(columns: list[str]) -> Iterator[Row]:
        # As Arrow, so that only the wanted columns are decoded, batch by batch.
        for batch in dataset.select_columns(columns).with_format("arrow").iter(BATCH):
            yield from batch.to_pylist()  # pyright: ignore[reportAttributeAccessIssue]

    return Table(name, list(dataset.column_names), read)
