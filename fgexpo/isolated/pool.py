"""Several worker processes for one batch of jobs; losing any of them does no harm."""

import os
import select
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..errors import EnvironmentFailure
from ..heartbeat import beat
from .process import START_SECONDS, WORKER, WorkerProcess

JOBS_A_WORKER = 8
MAX_WORKERS = 8
POLL_SECONDS = 1.0
# A start that takes longer is said; one that fails is tried again, so many times in a row.
SLOW_SECONDS, START_TRIES = 30.0, 3
# What a job needs first may take this long; it is tried again like a start.
BEFORE_SECONDS = 240.0


class WorkerPool:
    """Persistent workers, started when needed and replaced when lost.

    Args:
        module: does the work, dotted; see :mod:`.worker`.
        timeout: seconds that one job may take.
        workers: most workers; null for this process's share of the processor cores.
        start_timeout: seconds that a worker may take to start.
    """

    def __init__(
        self,
        module: str,
        timeout: float,
        workers: int | None = None,
        start_timeout: float = START_SECONDS,
    ) -> None:
        self.module = module
        self.timeout = timeout
        self.limit = workers or _own_cores()
        self.start_timeout = start_timeout
        self.workers: list[WorkerProcess] = []
        self._failed_starts = 0
        self._said_slow = False

    def run(
        self,
        jobs: Sequence[Sequence[Any]],
        patience: float = 1.0,
        before: Sequence[Sequence[Any]] | None = None,
    ) -> list[Any]:
        """The answer to every job; None for a job that hung or crashed its worker.

        Args:
            jobs: the fields of each.
            patience: multiplies the time that one job may take.
            before: the fields of what the worker of each job does right before it, outside its
                time; null for nothing.

        Raises:
            EnvironmentFailure: when workers cannot be started, or do not end what comes before.
        """
        try:
            return self._run(jobs, self.timeout * patience, before)
        except BaseException:
            # The workers are still busy with jobs whose answers are no longer needed.
            self.close()
            raise

    def _run(
        self,
        jobs: Sequence[Sequence[Any]],
        timeout: float,
        before: Sequence[Sequence[Any]] | None,
    ) -> list[Any]:
        found: list[Any] = [None] * len(jobs)
        waiting = deque(range(len(jobs)))
        # Jobs that still need what comes before them, and how often that has failed.
        failed = {} if before is None else dict.fromkeys(waiting, 0)
        while waiting or any(worker.job is not None for worker in self.workers):
            beat()
            self._hire(len(waiting))
            for worker in self.workers:
                if waiting and worker.idle:
                    job = waiting.popleft()
                    if before is None:
                        worker.submit(job, jobs[job], timeout)
                    else:
                        worker.submit(job, before[job], BEFORE_SECONDS)
            for worker in self._answering():
                job = worker.job
                reply = worker.read()
                if reply is None:
                    waiting.extend(self._lost(worker, failed))
                elif job is None:
                    self._failed_starts = 0
                elif job in failed:
                    del failed[job]
                    worker.submit(job, jobs[job], timeout)
                else:
                    found[job] = reply
            for worker in [w for w in self.workers if not w.idle]:
                if time.monotonic() > worker.deadline:
                    waiting.extend(self._lost(worker, failed))
                elif not worker.ready and time.monotonic() > worker.started + SLOW_SECONDS:
                    self._say_slow()
        return found

    def close(self) -> None:
        """Kill all workers."""
        for worker in getattr(self, "workers", []):
            worker.close()
        self.workers = []

    def __getstate__(self) -> dict[str, Any]:
        """Copy without the workers; the copy starts its own."""
        return {**self.__dict__, "workers": []}

    def __del__(self) -> None:
        self.close()

    def _hire(self, waiting: int) -> None:
        # Starting a worker costs as much as about a hundred jobs; a hung job costs more.
        idle = sum(worker.job is None for worker in self.workers)
        wanted = min(self.limit, len(self.workers) + max(0, -(-waiting // JOBS_A_WORKER) - idle))
        while len(self.workers) < wanted:
            self.workers.append(WorkerProcess(self.module, self.start_timeout))

    def _answering(self) -> list[WorkerProcess]:
        busy = [worker for worker in self.workers if not worker.idle]
        next_deadline = min((worker.deadline for worker in busy), default=0.0)
        patience = min(POLL_SECONDS, max(0.0, next_deadline - time.monotonic()))
        return select.select(busy, [], [], patience)[0] if busy else []

    def _lost(self, worker: WorkerProcess, failed: dict[int, int]) -> list[int]:
        """Dismiss a worker; its job, if it is to be tried again."""
        self._dismiss(worker)
        if worker.job not in failed:
            return []
        failed[worker.job] += 1
        if failed[worker.job] < START_TRIES:
            return [worker.job]
        raise EnvironmentFailure(
            "a worker of the verifier died, or took over "
            f"{BEFORE_SECONDS:g} s, before it could grade an answer, {START_TRIES} times in a row; "
            "free some memory or processor time"
        )

    def _dismiss(self, worker: WorkerProcess) -> None:
        worker.close()
        self.workers.remove(worker)
        if worker.ready:
            return
        self._failed_starts += 1
        seconds = time.monotonic() - worker.started
        what = f"the verifier's worker died or hung while starting, after {seconds:.0f} s"
        if self._failed_starts < START_TRIES:
            _say(f"{what}; trying again")
            return
        raise EnvironmentFailure(
            f"{what}, {START_TRIES} times in a row; free some memory or processor time, or raise "
            f"model.verifier.start_timeout (now {self.start_timeout:g} s); "
            f"`{sys.executable} -m {WORKER} {self.module}` shows why"
        )

    def _say_slow(self) -> None:
        if not self._said_slow:
            self._said_slow = True
            _say(
                f"a worker of the verifier has not started within {SLOW_SECONDS:g} s, on a busy "
                f"machine; waiting for model.verifier.start_timeout = {self.start_timeout:g} s"
            )


def _say(line: str) -> None:
    # Any process may say this, since each has its own workers.
    print(f"warning: {line}", file=sys.stderr, flush=True)


def _own_cores() -> int:
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) // processes))
