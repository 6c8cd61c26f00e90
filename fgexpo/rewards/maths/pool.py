"""Several grading processes for one batch; losing any of them does no harm."""

import os
import select
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from ...heartbeat import beat
from .compare import Pair
from .process import GraderProcess

PAIRS_A_WORKER = 8
MAX_WORKERS = 8
POLL_SECONDS = 1.0


class GraderPool:
    """Persistent workers, started when needed and replaced when lost.

    Args:
        timeout: seconds that one pair may take.
        workers: most workers; null for this process's share of the processor cores.
    """

    def __init__(self, timeout: float, workers: int | None = None) -> None:
        self.timeout = timeout
        self.limit = workers or _own_cores()
        self.workers: list[GraderProcess] = []

    def equal(self, pairs: Sequence[Pair], patience: float = 1.0) -> list[bool | None]:
        """Grade every pair; None for a pair that hung or crashed its worker.

        Args:
            pairs: what to compare.
            patience: multiplies the time that one pair may take.

        Raises:
            RuntimeError: when workers cannot be started.
        """
        try:
            return self._grade(pairs, self.timeout * patience)
        except BaseException:
            # The workers are still grading pairs whose verdicts are no longer needed.
            self.close()
            raise

    def _grade(self, pairs: Sequence[Pair], timeout: float) -> list[bool | None]:
        found: list[bool | None] = [None] * len(pairs)
        waiting = deque(range(len(pairs)))
        while waiting or any(worker.job is not None for worker in self.workers):
            beat()
            self._hire(len(waiting))
            for worker in self.workers:
                if waiting and worker.idle:
                    job = waiting.popleft()
                    worker.submit(job, pairs[job], timeout)
            for worker in self._answering():
                job = worker.job
                verdict = worker.read()
                if verdict is None:
                    self._dismiss(worker)
                elif job is not None:
                    found[job] = verdict
            for worker in [w for w in self.workers if not w.idle]:
                if time.monotonic() > worker.deadline:
                    self._dismiss(worker)
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
        # Starting a worker costs as much as grading about a hundred pairs; a hung pair costs more.
        idle = sum(worker.job is None for worker in self.workers)
        wanted = min(self.limit, len(self.workers) + max(0, -(-waiting // PAIRS_A_WORKER) - idle))
        while len(self.workers) < wanted:
            self.workers.append(GraderProcess())

    def _answering(self) -> list[GraderProcess]:
        busy = [worker for worker in self.workers if not worker.idle]
        next_deadline = min((worker.deadline for worker in busy), default=0.0)
        patience = min(POLL_SECONDS, max(0.0, next_deadline - time.monotonic()))
        return select.select(busy, [], [], patience)[0] if busy else []

    def _dismiss(self, worker: GraderProcess) -> None:
        worker.close()
        self.workers.remove(worker)
        if not worker.ready:
            raise RuntimeError(
                "the verifier's worker died or hung while starting; "
                f"`{sys.executable} -m fgexpo.rewards.maths.worker` shows why"
            )


def _own_cores() -> int:
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) // processes))
