"""The thread that watches: it tells the other processes how this one gets on, and reads theirs."""

import faulthandler
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from . import heartbeat
from .watch import TIED, Report, Watcher, find_culprit

TICK_SECONDS = 1.0
STORE_TIMEOUT = timedelta(seconds=10)
# Longer than the others need to read the verdict; a launcher may kill this process after five.
LINGER_SECONDS = 3.0
DYING_SECONDS = 15.0
# This process itself must have been stopped, by Ctrl-Z or a sleeping machine.
SUSPENDED_SECONDS = 5.0
VERDICT = "verdict"
# What is raised where the other end of a connection has gone.
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe|DistNetworkError")


class Monitor(threading.Thread):
    """Ends this process when it, or another one, no longer gets on.

    Args:
        rank: of this process.
        world_size: number of processes.
        timeout: seconds without progress.
        store: shared with the other processes; None when there are none.
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
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self.silence = timeout * 2 / 3
        self._store, self._children = store, children
        self._watcher = Watcher(socket.gethostname())
        self._stopping, self._named = threading.Event(), threading.Event()
        self._error: str | None = None
        self._secondary = False
        self._tick = 0
        # A process that never reports is missed from now on.
        for other in range(world_size):
            self._watcher.see(other, Report("unknown host", 0, 0, "set-up", 0, 0), time.monotonic())
        self._publish()

    def run(self) -> None:
        """Look around every second."""
        try:
            looked = time.monotonic()
            while not self._stopping.wait(TICK_SECONDS):
                # If this thread no longer runs, somebody keeps Python's lock: one in C takes over.
                faulthandler.dump_traceback_later(2 * self.timeout + 30, exit=True)
                now = time.monotonic()
                if now - looked > SUSPENDED_SECONDS:
                    self._watcher.forgive(now)
                looked = now
                culprit = self._look()
                if culprit is not None:
                    self._conclude(*culprit)
                    return
        finally:
            faulthandler.cancel_dump_traceback_later()

    def stop(self) -> None:
        """End in order; the others will not miss this process."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._store is not None:
            try:
                self._publish(done=True)
            except RuntimeError as error:
                print(f"watchdog: cannot say goodbye, {error}", file=sys.stderr)

    def fail(self, exception: BaseException) -> bool:
        """Say what this process dies of, and wait until the others have heard or been named.

        Returns:
            Whether it died of the loss of another process, which has been named.
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

    def _look(self) -> tuple[int, str] | None:
        try:
            self._publish()
            if self._store is not None and self._store.check([VERDICT]):
                rank, what = json.loads(self._store.get(VERDICT))
                return rank, what
            self._read()
        except RuntimeError as error:
            return self._without_store(error)
        views = self._watcher.views(time.monotonic(), _exists)
        return find_culprit(views, self.timeout, self.silence)

    def _publish(self, done: bool = False) -> None:
        self._tick += 1
        pulse = heartbeat.read()
        report = Report(
            host=self._watcher.host,
            pid=os.getpid(),
            tick=self._tick,
            phase=pulse.phase,
            position=pulse.position,
            beats=pulse.beats,
            patience=pulse.patience,
            error=self._error,
            secondary=self._secondary,
            done=done,
        )
        self._watcher.see(self.rank, report, time.monotonic())
        if self._store is not None:
            self._store.set(f"rank{self.rank}", report.to_json())

    def _read(self) -> None:
        for rank in range(self.world_size):
            if self._store is not None and rank != self.rank and self._store.check([f"rank{rank}"]):
                report = Report(**json.loads(self._store.get(f"rank{rank}")))
                self._watcher.see(rank, report, time.monotonic())

    def _without_store(self, error: RuntimeError) -> tuple[int, str] | None:
        # The first process holds the store. If it has just finished, so will this one.
        if self._stopping.wait(LINGER_SECONDS) or self._watcher.is_done(0):
            self._stopping.set()
            return None
        first = str(error).splitlines()[0]
        return 0, f"has died: the store that it holds does not answer ({first})"

    def _conclude(self, culprit: int, what: str) -> None:
        if self._store is not None and culprit != 0:
            self._tell(culprit, what)
        mine = self._error is not None and culprit == self.rank
        if not mine:  # else its own traceback says it
            here = heartbeat.read().phase
            aside = "" if culprit == self.rank else f"; rank {self.rank} stops in phase '{here}'"
            print(
                f"error: rank {culprit} ({self._watcher.where(culprit)}) {what}{aside}",
                file=sys.stderr,
                flush=True,
            )
            if culprit == self.rank or TIED in what:
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        self._named.set()
        # A process that dies of an error of its own may still say so.
        time.sleep(LINGER_SECONDS if self._error is None else DYING_SECONDS)
        self.leave()

    def _tell(self, culprit: int, what: str) -> None:
        assert self._store is not None
        try:
            self._store.set(VERDICT, json.dumps([culprit, what]))
        except RuntimeError as error:
            print(f"watchdog: cannot tell the others, {error}", file=sys.stderr)


def _exists(pid: int) -> bool:
    """Whether a process runs on this machine; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
