"""``metrics.csv``: one row per rollout step, which a resumed run continues."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import whole_file
from ..outside import reading

METRICS = "metrics.csv"
STEP = "step"


class CSVRows:
    """``metrics.csv``: one row per rollout step, one column per tag.

    A repeated step replaces its values, so that a resumed run's curve is one curve.

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
        # Whatever is there is written anew the first time: its last line may be half a line.
        self._begun = False

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
        """Append a new step's row; write the file anew when a row or the columns changed."""
        if not self._changed:
            return
        tags = {tag for step in self._changed for tag in self.rows[step]}
        new = not self._changed & self._on_disk and tags <= set(self._columns)
        if self._begun and new:
            self._write(self.path, "a", sorted(self._changed))
        else:
            self._columns = sorted(tags | set(self._columns))
            with whole_file(self.path) as partial:
                self._write(partial, "w", sorted(self.rows))
        self._begun = True
        self._on_disk |= self._changed
        self._changed = set()

    def _write(self, path: Path, mode: str, steps: Sequence[int]) -> None:
        with path.open(mode, newline="") as file:
            writer = csv.DictWriter(file, [STEP, *self._columns])
            if mode == "w":
                writer.writeheader()
            writer.writerows({STEP: step, **self.rows[step]} for step in steps)


def read_rows(path: str | Path) -> dict[int, dict[str, float]]:
    """Values by step and tag; a line that a killed process has half written is left out.

    Raises:
        UserError: when it is not such a file.
    """
    with reading(path, "a run's metrics.csv"):
        text = Path(path).read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()
        return {
            int(row.pop(STEP)): {tag: float(value) for tag, value in row.items() if value}
            for row in csv.DictReader(lines)
        }
