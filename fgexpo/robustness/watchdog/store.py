"""Exchanges reports between processes, through a separate store that the first process holds.

A separate thread talks to the store: a store whose process is frozen does not answer, and the
watching thread must notice that instead of waiting for it.
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
    """Publishes this process's report about once per second, and reads the others'.

    Args:
        rank: this process's rank.
        world_size: number of processes.
        store: shared with the other processes.
        report: makes this process's report.

    Attributes:
        reports: the others' latest, by rank.
        verdict: culprit and reason, once some process has named them.
        answered: when the store last answered, in seconds of the monotonic clock.
        error: why the store no longer answers.
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
        """Exchange reports until stopped, or until the store is gone."""
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self._talk()
            except RuntimeError as error:
                self.error = str(error).splitlines()[0]
                return
            self.answered = time.monotonic()

    def publish(self, report: Report) -> None:
        """Publish a report now."""
        self._store.set(f"rank{self.rank}", report.to_json())

    def tell(self, culprit: int, what: str) -> None:
        """Name the culprit to the others, so that all print the same."""
        self._store.set(_VERDICT, json.dumps([culprit, what]))

    def stop(self) -> None:
        """Stop exchanging reports."""
        self._stopping.set()

    def _talk(self) -> None:
        self.publish(self._report())
        if self._store.check([_VERDICT]):
            culprit, what = json.loads(self._store.get(_VERDICT))
            self.verdict = (culprit, what)
        for rank in range(self.world_size):
            if rank != self.rank and self._store.check([f"rank{rank}"]):
                self.reports[rank] = Report(**json.loads(self._store.get(f"rank{rank}")))
