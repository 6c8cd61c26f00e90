"""Reports between processes, through a store of their own that the first process holds.

A thread of its own does the talking: a store whose process is frozen does not answer, and whoever
watches must notice that instead of waiting for it.
"""

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from .culprit import Report

TICK_SECONDS = 1.0
STORE_TIMEOUT = timedelta(seconds=10)
_VERDICT = "verdict"


class Exchange(threading.Thread):
    """Publishes this process's report about once a second and reads the others'.

    Args:
        rank: of this process.
        world_size: number of processes.
        store: shared with the other processes.
        report: makes this process's report.

    Attributes:
        reports: the others' latest, by rank.
        verdict: culprit and reason, once a process has named them.
        answered: when the store last answered, in seconds of the monotonic clock.
        error: why it no longer can.
    """

    def __init__(
        self, rank: int, world_size: int, store: TCPStore, report: Callable[[], Report]
    ) -> None:
        super().__init__(name="watchdog-exchange", daemon=True)
        self.rank, self.world_size = rank, world_size
        self.reports: dict[int, Report] = {}
        self.verdict: tuple[int, str] | None = None
        self.answered = time.monotonic()
        self.error: str | None = None
        self._store, self._report = store, report
        self._stopping = threading.Event()

    def run(self) -> None:
        """Talk until stopped, or until the store is gone."""
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self._talk()
            except RuntimeError as error:
                self.error = str(error).splitlines()[0]
                return
            self.answered = time.monotonic()

    def publish(self, report: Report) -> None:
        """Give a report to the others now."""
        self._store.set(f"rank{self.rank}", report.to_json())

    def tell(self, culprit: int, what: str) -> None:
        """Name the culprit to the others, so that all say the same."""
        self._store.set(_VERDICT, json.dumps([culprit, what]))

    def stop(self) -> None:
        """Talk no more."""
        self._stopping.set()

    def _talk(self) -> None:
        self.publish(self._report())
        if self._store.check([_VERDICT]):
            culprit, what = json.loads(self._store.get(_VERDICT))
            self.verdict = (culprit, what)
        for rank in range(self.world_size):
            if rank != self.rank and self._store.check([f"rank{rank}"]):
                self.reports[rank] = Report(**json.loads(self._store.get(f"rank{rank}")))
