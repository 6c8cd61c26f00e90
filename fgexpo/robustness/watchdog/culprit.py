"""Find the process that stalled the run, from what each process reports about itself.

Processes go through the same phases in the same order. So when several stop, the others wait
for the one that is furthest behind.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

SILENT = "has given no sign of life"
STALLED = "has made no progress"
TIED = ", and others are at the same point"


@dataclass(frozen=True)
class Report:
    """What a process publishes about itself, about once per second.

    Attributes:
        host: its machine.
        pid: its process id there.
        tick: grows with every report.
        phase: its current work; see :mod:`fgexpo.heartbeat`, also for the next three.
        position: phases entered.
        beats: grows with progress.
        patience: multiple of the limit that this phase may last without progress.
        error: the error that ended it, if it could still report one.
        secondary: the error is that another process was lost.
        done: it has ended normally.
    """

    host: str
    pid: int
    tick: int
    phase: str
    position: int
    beats: int
    patience: float = 1.0
    error: str | None = None
    secondary: bool = False
    done: bool = False

    def to_json(self) -> str:
        """The report as the store holds it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class View:
    """A process as seen by another one.

    Attributes:
        report: its last report.
        silent: seconds since its reports stopped coming.
        stalled: seconds since its beats stopped growing.
        gone: its process is known to have ended.
    """

    report: Report
    silent: float = 0.0
    stalled: float = 0.0
    gone: bool = False


def find_culprit(
    views: Mapping[int, View], timeout: float, silence: float
) -> tuple[int, str] | None:
    """The rank that stalls the run, and what is wrong with it; None while all is well.

    Args:
        views: by rank.
        timeout: seconds without progress.
        silence: seconds without a report.
    """
    present = {rank: view for rank, view in views.items() if not view.report.done}
    for rank, view in sorted(present.items()):
        if view.report.error is not None and not view.report.secondary:
            return rank, f"failed in phase '{view.report.phase}': {view.report.error}"
    for rank, view in sorted(present.items()):
        if view.report.secondary:
            continue
        if view.gone:
            return rank, f"has died in phase '{view.report.phase}'"
        if view.silent > silence:
            return rank, (
                f"{SILENT} for {view.silent:.0f} s, since it was in phase '{view.report.phase}'"
            )
    return _least_advanced(present, timeout)


def _least_advanced(present: Mapping[int, View], timeout: float) -> tuple[int, str] | None:
    stalled = [
        rank for rank, view in present.items() if view.stalled > timeout * view.report.patience
    ]
    if not stalled:
        return None
    least = min(view.report.position for view in present.values())
    last = [rank for rank in sorted(present) if present[rank].report.position == least]
    if not set(last) <= set(stalled):
        return None  # the others wait for a process that is working, maybe in the same phase
    first = last[0]
    view = present[first]
    what = f"{STALLED} for {view.stalled:.0f} s in phase '{view.report.phase}'"
    if len(last) > 1:
        what += f"{TIED}: ranks {', '.join(map(str, last))}"
    return first, what


class Watcher:
    """Turns incoming reports into views; only this process's own clock counts.

    Args:
        host: this machine, where process ids can be checked.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._seen: dict[int, tuple[Report, float, float]] = {}
        self._met: set[int] = set()

    def see(self, rank: int, report: Report, now: float) -> None:
        """Record a report received at a time in seconds."""
        before, heard, moved = self._seen.get(rank, (None, now, now))
        if before is not None:
            heard = now if report.tick != before.tick else heard
            moved = now if report.beats != before.beats else moved
        self._seen[rank] = (report, heard, moved)

    def views(self, now: float, exists: Callable[[int], bool]) -> dict[int, View]:
        """Every process as it looks now.

        Args:
            now: seconds on the clock of :meth:`see`.
            exists: whether a process id is that of a running process of this machine.
        """
        views = {}
        for rank, (report, heard, moved) in self._seen.items():
            here = report.host == self.host and exists(report.pid)
            if here:
                self._met.add(rank)
            # A process that never reported may be in a container, where its id differs.
            gone = rank in self._met and not here
            views[rank] = View(report, now - heard, now - moved, gone)
        return views

    def forgive(self, now: float) -> None:
        """Start measuring again, after this process could not watch for a while."""
        self._seen = {rank: (report, now, now) for rank, (report, _, _) in self._seen.items()}

    def is_done(self, rank: int) -> bool:
        """Whether the process has ended normally."""
        return rank in self._seen and self._seen[rank][0].done

    def where(self, rank: int) -> str:
        """Machine and process id, as far as they are known."""
        if rank not in self._seen:
            return "never reported"
        report = self._seen[rank][0]
        return f"{report.host}, process {report.pid}"
