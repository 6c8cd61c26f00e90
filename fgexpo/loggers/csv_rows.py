"""``metrics.csv``: one row per rollout step, which a resumed run continues."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import whole_file
from ..outside import reading

METRICS = "metrics.csv"
STEP = "step"


class CSVRows:
    """``metrics.csv``: one row per rollout step, one column per tag.

    A repeated step replaces its values, so that a resumed run's curve is one curve. Several calls
    for the newest step write its line again and leave the lines above it alone, so that a long run
    does not become slow.

    Args:
        folder: to write in.
        resume: keep the rows that are there.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self.path = folder / METRICS
        self.rows: dict[int, dict[str, float]] = {}
        self._columns: list[str] = []
        self._changed: set[int] = set()
        self._on_disk: set[int] = set()
        folder.mkdir(parents=True, exist_ok=True)
        if resume and self.path.exists():
            self.rows = read_rows(self.path)
            self._columns = sorted({tag for row in self.rows.values() for tag in row})
            self._on_disk = set(self.rows)
        # The step of the file's last line, the byte where that line begins, and the file's size.
        # Whatever is there is written anew the first time: its last line may be half a line.
        self._last: int | None = None
        self._at, self._size = 0, -1

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows in order of steps."""
        return [self.rows[step] for step in sorted(self.rows)]

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add to a step's row."""
        row = self.rows.setdefault(step, {})
        row.update((tag, float(value)) for tag, value in metrics.items())
        self._changed.add(step)

    def save(self) -> None:
        """Write the last line again, or append lines; else, or for a new column, the whole file."""
        if not self._changed:
            return
        tags = {tag for step in self._changed for tag in self.rows[step]}
        last_again, new = self._changed == {self._last}, not self._changed & self._on_disk
        if self._is_ours() and tags <= set(self._columns) and (last_again or new):
            self._write_end(sorted(self._changed), self._at if last_again else self._size)
        else:
            self._columns = sorted(tags | set(self._columns))
            self._write_all()
        self._on_disk |= self._changed
        self._changed = set()

    def _is_ours(self) -> bool:
        """Whether the file is as the last call has left it, so that its offsets hold."""
        return self.path.exists() and self.path.stat().st_size == self._size

    def _write_all(self) -> None:
        *others, last = sorted(self.rows)
        before, line = self._lines(others, head=True), self._lines([last])
        with whole_file(self.path) as partial:
            partial.write_bytes(before + line)
        self._last, self._at, self._size = last, len(before), len(before) + len(line)

    def _write_end(self, steps: Sequence[int], at: int) -> None:
        *others, last = steps
        before, line = self._lines(others), self._lines([last])
        with self.path.open("r+b") as file:
            file.truncate(at)
            file.seek(at)
            file.write(before + line)
        self._last, self._at = last, at + len(before)
        self._size = self._at + len(line)

    def _lines(self, steps: Sequence[int], head: bool = False) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, [STEP, *self._columns])
        if head:
            writer.writeheader()
        writer.writerows({STEP: step, **self.rows[step]} for step in steps)
        return text.getvalue().encode()


def read_rows(path: str | Path) -> dict[int, dict[str, float]]:
    """Values by step and tag; a line that a killed process has half written is left out.

    Raises:
        UserError: when it is not such a file.
    """
    with reading(path, "a run's metrics.csv"):
        text = Path(path).read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()
        return {
            int(row.pop(STEP)): {tag: float(value) for tag, value in row.items() if value}
            for row in csv.DictReader(lines)
        }
