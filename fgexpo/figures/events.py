"""Reads TensorBoard's event files into plain tables that a notebook can draw."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ..errors import UserError
from ..loggers.csv_rows import METRICS, read_rows
from ..outside import reading

PATTERN = "events.out.tfevents.*"
# Steps and values of a tag, [S] each.
Curve = tuple[np.ndarray, np.ndarray]


class Scalar(NamedTuple):
    """A row of the tidy table of scalars; ``pandas.DataFrame(rows)`` takes a list of them."""

    tag: str
    step: int
    wall_time: float
    value: float


class Histogram(NamedTuple):
    """A histogram at one step: counts [B] up to each limit, limits [B], the first count being 0."""

    step: int
    limits: np.ndarray
    counts: np.ndarray


class LoggedRun(NamedTuple):
    """A run's folder, its scalars in the order written, and its histograms by tag."""

    folder: Path
    scalars: list[Scalar]
    histograms: dict[str, list[Histogram]]


def read_run(folder: str | Path) -> LoggedRun:
    """Read all event files of a folder; a run that was resumed has several.

    Without any, it reads the scalars of ``metrics.csv``, which has no times and no histograms.

    Raises:
        UserError: when there is none, or one that cannot be read.
    """
    folder = Path(folder)
    if not any(folder.glob(PATTERN)):
        if (folder / METRICS).exists():
            return LoggedRun(folder, _csv_scalars(folder / METRICS), {})
        raise UserError(
            f"{str(folder)!r} holds no event files ({PATTERN}) and no {METRICS}, which "
            "TensorBoardLogger and CSVRun write"
        )
    with reading(folder, "a run's folder of event files"):
        # By default it keeps a sample of each tag's values; 0 keeps all.
        guidance = {"scalars": 0, "histograms": 0}
        events = EventAccumulator(str(folder), size_guidance=guidance).Reload()
    found = events.Tags()
    scalars = [
        Scalar(tag, event.step, event.wall_time, event.value)
        for tag in found["scalars"]
        for event in events.Scalars(tag)
    ]
    scalars.sort(key=lambda row: row.wall_time)
    histograms = {
        tag: _last_of_each_step(
            histogram_of(event.step, event.histogram_value) for event in events.Histograms(tag)
        )
        for tag in found["histograms"]
    }
    return LoggedRun(folder, scalars, histograms)


def curves(rows: Iterable[Scalar]) -> dict[str, Curve]:
    """Steps and values by tag; if a step was run twice, the later values."""
    # A killed run repeats the steps after its last checkpoint when it resumes.
    by_tag: dict[str, dict[int, float]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.wall_time):
        by_tag[row.tag][row.step] = row.value
    return {
        tag: (np.array(sorted(points)), np.array([points[step] for step in sorted(points)]))
        for tag, points in by_tag.items()
    }


def find_run(given: str | None, runs: str | Path, saved: str | Path) -> tuple[Path, str]:
    """The folder of the run to show, and a sentence that says why this one.

    Args:
        given: a run's folder, or a folder whose newest run is taken; null for none.
        runs: where runs are by default.
        saved: a run's folder to fall back on.

    Raises:
        UserError: when there is no run in ``given``.
    """
    if given:
        folder = newest_run(given)
        if folder is None:
            raise UserError(f"no event files in {given!r} or its subfolders, and no {METRICS}")
        return folder, f"{folder}: the newest run in {given!r}, as requested"
    folder = newest_run(runs)
    if folder is None:
        return Path(saved), f"{saved}: the saved log, since there is no run in {str(runs)!r}"
    return folder, f"{folder}: the newest run in {str(runs)!r}"


def newest_run(root: str | Path) -> Path | None:
    """The folder in ``root`` with the most recently written file of scalars, if there is any."""
    found = [*Path(root).rglob(PATTERN), *Path(root).rglob(METRICS)]
    files = sorted(found, key=lambda file: file.stat().st_mtime)
    return files[-1].parent if files else None


def histogram_of(step: int, value: Any) -> Histogram:
    """A histogram without its empty ends, from the least value to the largest.

    The outer bins reach beyond the values in them, so that equal values would have a spread.

    Args:
        step: the rollout step.
        value: as in an event file: ``bucket_limit``, ``bucket``, ``min`` and ``max``.
    """
    counts, limits = np.array(value.bucket), np.array(value.bucket_limit)
    held = counts.nonzero()[0]
    if len(held) == 0:
        return Histogram(step, np.array([0.0]), np.array([0.0]))
    inside = slice(held[0], held[-1])
    ends = np.concatenate([[value.min], limits[inside], [value.max]])
    return Histogram(step, ends, np.concatenate([[0.0], counts[held[0] : held[-1] + 1]]))


def rebin(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    """Counts [B] between new edges [B + 1], which must enclose all values.

    Values are taken to be spread evenly within a bucket. One that lies on an edge counts above it.
    """
    just_below = np.nextafter(edges, -np.inf)
    below = np.interp(just_below, histogram.limits, np.cumsum(histogram.counts))
    # Buckets around 0 and 1 extend beyond the range of a pass-rate.
    below[0], below[-1] = 0, histogram.counts.sum()
    return np.diff(below)


def quantiles(histogram: Histogram, shares: Iterable[float]) -> np.ndarray:
    """Quantiles at these shares, to the buckets' resolution."""
    below = np.cumsum(histogram.counts)
    return np.interp(np.array(list(shares)) * below[-1], below, histogram.limits)


def _csv_scalars(path: Path) -> list[Scalar]:
    rows = read_rows(path)
    return [Scalar(tag, step, 0.0, rows[step][tag]) for step in sorted(rows) for tag in rows[step]]


def _last_of_each_step(histograms: Iterable[Histogram]) -> list[Histogram]:
    by_step = {histogram.step: histogram for histogram in histograms}
    return [by_step[step] for step in sorted(by_step)]
