"""A process that can be killed: the parent enforces the deadline, not the worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

# What a worker may take to start unless told otherwise; it takes a second on an idle machine.
START_SECONDS = 120.0
WORKER = "fgexpo.isolated.worker"
# A job is for one core; numpy would start a thread for every one.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class WorkerProcess:
    """Runs :mod:`.worker` on a module, from its start on, and does one job at a time.

    Attributes:
        job: the caller's name for what is being done; None when idle.
        ready: whether the worker has finished starting.
        started: when it began, on the monotonic clock.
        deadline: time on the monotonic clock at which to give up waiting.

    Args:
        module: does the work, dotted; see :mod:`.worker`.
        start_timeout: seconds that starting may take.
    """

    def __init__(self, module: str, start_timeout: float = START_SECONDS) -> None:
        self.module = module
        # gmpy2 numbers cannot be interrupted or limited, so sympy must use Python's own. The hash
        # seed is fixed, since sympy's orders, and so borderline verdicts, may depend on it.
        environment = {
            **os.environ,
            **_ONE_THREAD,
            "SYMPY_GROUND_TYPES": "python",
            "PYTHONHASHSEED": "0",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.job: Any = None
        self.ready = False
        self.started = time.monotonic()
        self.deadline = self.started + start_timeout

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def idle(self) -> bool:
        """Whether it can take a job."""
        return self.ready and self.job is None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def fileno(self) -> int:
        """Descriptor for ``select``: readable when an answer has come or the worker is dead."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def submit(self, job: Any, fields: Sequence[Any], timeout: float) -> None:
        """Send a job's fields; a dead worker is noticed when its answer is read."""
        assert self._process.stdin is not None
        self.job, self.deadline = job, time.monotonic() + timeout
        try:
            self._process.stdin.write((json.dumps(fields) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self.deadline = time.monotonic()

    def read(self) -> Any:
        """The answer, or False for a worker that has just started; None if it is dead."""
        assert self._process.stdout is not None
        # A reply is one line, written at once: this cannot block for long.
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        if not self.ready:
            self.ready = True
            return False
        self.job = None
        return json.loads(line)

    def close(self) -> None:
        """Kill the worker and reap it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # unsent input has no reader any more
