"""Which checkpoint is newer: by a number that every save gets, never by a file's time.

The number is one more than the largest that the run found when it began, so a run that resumed from
an earlier step saves newer checkpoints than the abandoned ones. A clock that goes back, and a copy
that gives all files the same time, change nothing. Older checkpoints have no number: they come
before all that have one, by the step in their names.
"""

import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..outside import reading
from .content import fault, is_complete, read_note

PATTERN = "step=*.ckpt"
# In a checkpoint's dictionary, on its way to the file; and the name of the file's record.
ORDER, _RECORD = "fgexpo_order", "order.json"


@dataclass(frozen=True, order=True)
class Order:
    """A checkpoint's place in the order.

    Attributes:
        number: of the save; 0 in checkpoints that have none.
        step: rollout steps finished.
    """

    number: int
    step: int

    def text(self) -> str:
        """For a record."""
        return json.dumps(asdict(self))


def add_order(path: Path, order: Order) -> None:
    """Add the record to a checkpoint that is a file, without touching what is in it."""
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/{_RECORD}", order.text())


def order_of(path: Path) -> Order | None:
    """A checkpoint's place, read without its tensors; None when it cannot be read."""
    try:
        with reading(path, "a checkpoint"):
            return _read(path)
    except (UserError, OSError):
        return None


def by_age(paths: Iterable[Path]) -> list[Path]:
    """Oldest first; those that cannot be read come before all others."""
    unknown, known = _sorted(paths)
    return unknown + known


def newest_complete(paths: Iterable[Path]) -> tuple[Path | None, list[Path]]:
    """The newest complete checkpoint, and those that are newer, or of unknown age, but damaged."""
    torn = []
    unknown, known = _sorted(paths)
    for path in reversed(known + unknown):
        if is_complete(path):
            return path, torn
        torn.append(path)
    return None, torn


def why_not(path: Path) -> str:
    """What is wrong with a checkpoint that :func:`newest_complete` left out."""
    return fault(path) or f"{str(path)!r} was incomplete a moment ago"


def _read(path: Path) -> Order | None:
    if path.is_dir():
        return _parse(read_note(path), path)
    if not path.is_file():  # opening a FIFO would wait for ever
        return None
    with zipfile.ZipFile(path) as archive:
        records = [name for name in archive.namelist() if name.endswith(f"/{_RECORD}")]
        return _parse(archive.read(records[0]).decode() if records else "", path)


def _parse(text: str, path: Path) -> Order:
    if text:
        found = json.loads(text)
        return Order(int(found["number"]), int(found["step"]))
    step = re.search(r"step=(\d+)", path.name)
    return Order(0, int(step[1]) if step else 0)


def _sorted(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Those of unknown age by name, and the others by age."""
    placed = [(order_of(path), path) for path in paths]
    known = [(order, _time(path), path) for order, path in placed if order is not None]
    return (
        sorted(path for order, path in placed if order is None),
        [path for _, _, path in sorted(known)],
    )


def _time(path: Path) -> int:
    # Only between checkpoints that nothing else tells apart.
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
