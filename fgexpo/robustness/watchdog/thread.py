"""The thread that watches, and ends this process when it or another one makes no progress."""

import faulthandler
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from ... import heartbeat
from .culprit import SILENT, STALLED, TIED, Report, Watcher, find_culprit
from .store import TICK_SECONDS, Exchange
from .working import Working

# Longer than the others need to read the verdict; a launcher may kill this process after five.
LINGER_SECONDS = 3.0
DYING_SECONDS = 15.0
# A longer gap means that this process itself was stopped, by Ctrl-Z or a sleeping machine.
SUSPENDED_SECONDS = 5.0
# Errors raised when the other end of a connection is gone.
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe|DistNetworkError")


class Monitor(threading.Thread):
    """Checks all processes every second; :mod:`.culprit` decides.

    Args:
        rank: this process's rank.
        world_size: number of processes.
        timeout: seconds without progress.
        store: shared with the other processes; None if there are none.
        children: processes that must not outlive this one.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        timeout: float,
        store: TCPStore | None,
        children: Sequence[Popen[Any]] = (),
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.rank, self.timeout = rank, timeout
        self.silence = timeout * 2 / 3
        self._children = children
        self._watcher = Watcher(socket.gethostname())
        self._stopping, self._named = threading.Event(), threading.Event()
        self._error: str | None = None
        self._secondary = False
        self._tick = 0
        self._working, self._worked = Working((heartbeat.PATIENT - 1) * timeout), 0
        # A process that never reports counts as silent from now on.
        for other in range(world_size):
            self._watcher.see(other, Report("unknown host", 0, 0, "set-up", 0, 0), time.monotonic())
        self._exchange: Exchange | None = None
        if store is not None:
            self._exchange = Exchange(rank, world_size, store, self._report)
            self._exchange.publish(self._report())
            self._exchange.start()

    def run(self) -> None:
        """Watch until stopped."""
        try:
            looked = time.monotonic()
            while not self._stopping.wait(TICK_SECONDS):
                # If this thread cannot run, some code holds Python's lock: a timer in C takes over.
                faulthandler.dump_traceback_later(2 * self.timeout + 30, exit=True)
                now = time.monotonic()
                if now - looked > SUSPENDED_SECONDS:
                    self._watcher.forgive(now)
                looked = now
                culprit = self._look(now)
                if culprit is not None:
                    self._conclude(*culprit)
                    return
        finally:
            faulthandler.cancel_dump_traceback_later()

    def stop(self) -> None:
        """Stop normally, and tell the others that this process is done."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._exchange is not None:
            self._exchange.stop()
            try:
                self._exchange.publish(self._report(done=True))
            except RuntimeError as error:
                print(f"watchdog: cannot say goodbye, {error}", file=sys.stderr)

    def fail(self, exception: BaseException) -> bool:
        """Report this process's error, and wait until the others know it or the culprit is named.

        Returns:
            Whether it failed because another process was lost, which is then named.
        """
        self._secondary = bool(_LOST.search(f"{type(exception).__name__} {exception}"))
        first = (str(exception).splitlines() or [""])[0]
        self._error = f"{type(exception).__name__}: {first[:300]}"
        named = self._named.wait(self.silence + 5 if self._secondary else LINGER_SECONDS)
        return named and self._secondary

    def leave(self) -> None:
        """End this process and those it has started, at once."""
        for child in self._children:
            child.kill()
        os._exit(1)

    def _report(self, done: bool = False) -> Report:
        self._tick += 1
        pulse = heartbeat.read()
        return Report(
            host=self._watcher.host,
            pid=os.getpid(),
            tick=self._tick,
            phase=pulse.phase,
            position=pulse.position,
            beats=pulse.beats + self._worked,
            patience=pulse.patience,
            error=self._error,
            secondary=self._secondary,
            done=done,
        )

    def _look(self, now: float) -> tuple[int, str] | None:
        pulse = heartbeat.read()
        self._worked = self._working.look(pulse.beats, pulse.computes, time.process_time(), now)
        self._watcher.see(self.rank, self._report(), now)
        if self._exchange is not None:
            if self._exchange.verdict is not None:
                return self._exchange.verdict
            for rank, report in list(self._exchange.reports.items()):
                self._watcher.see(rank, report, now)
            without = self._without_store(self._exchange, now)
            if without is not None:
                return without
        return find_culprit(self._watcher.views(now, _exists), self.timeout, self.silence)

    def _without_store(self, exchange: Exchange, now: float) -> tuple[int, str] | None:
        # The first process holds the store.
        if exchange.error is not None:
            if self._stopping.wait(LINGER_SECONDS) or self._watcher.is_done(0):
                self._stopping.set()  # it has just finished, and this process will too
                return None
            return 0, f"has died: the store that it holds is gone ({exchange.error})"
        silent = now - exchange.answered
        if silent > self.silence and self.rank != 0:
            return 0, (f"{SILENT} for {silent:.0f} s: the store that it holds does not answer")
        return None

    def _conclude(self, culprit: int, what: str) -> None:
        if self._exchange is not None and culprit != 0:
            try:
                self._exchange.tell(culprit, what)
            except RuntimeError as error:
                print(f"watchdog: cannot tell the others, {error}", file=sys.stderr)
        mine = self._error is not None and culprit == self.rank
        if not mine:  # else its own traceback tells
            here = heartbeat.read().phase
            aside = "" if culprit == self.rank else f"; rank {self.rank} stops in phase '{here}'"
            if STALLED in what or SILENT in what:
                aside += f"; if it is only slow, raise watchdog.timeout (now {self.timeout:g} s)"
            print(
                f"error: rank {culprit} ({self._watcher.where(culprit)}) {what}{aside}",
                file=sys.stderr,
                flush=True,
            )
            if culprit == self.rank or TIED in what:
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        self._named.set()
        # A process that fails with its own error may still report it.
        time.sleep(LINGER_SECONDS if self._error is None else DYING_SECONDS)
        self.leave()


def _exists(pid: int) -> bool:
    """Whether a process runs on this machine; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
