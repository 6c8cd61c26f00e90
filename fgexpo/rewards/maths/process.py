"""A grading process that can be killed: the parent enforces the deadline, not the worker."""

import json
import os
import subprocess
import sys
import time
from dataclasses import astuple
from typing import Any

from .compare import Pair

# What a worker may take to start unless told otherwise; it takes a second on an idle machine.
START_SECONDS = 120.0


class GraderProcess:
    """Runs :mod:`fgexpo.rewards.maths.worker`, from its start on, and grades one pair at a time.

    Attributes:
        job: the caller's name for what is being graded; None when idle.
        ready: whether the worker has finished starting.
        started: when it began, on the monotonic clock.
        deadline: time on the monotonic clock at which to give up waiting.

    Args:
        start_timeout: seconds that starting may take.
    """

    def __init__(self, start_timeout: float = START_SECONDS) -> None:
        # gmpy2 numbers cannot be interrupted or limited, so sympy must use Python's own. The hash
        # seed is fixed, since sympy's orders, and so borderline verdicts, may depend on it.
        environment = {**os.environ, "SYMPY_GROUND_TYPES": "python", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fgexpo.rewards.maths.worker"],
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
        """Whether it can take a pair."""
        return self.ready and self.job is None

    def fileno(self) -> int:
        """Descriptor for ``select``: readable when an answer has come or the worker is dead."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def submit(self, job: Any, pair: Pair, timeout: float) -> None:
        """Send a pair; a dead worker is noticed when its answer is read."""
        assert self._process.stdin is not None
        self.job, self.deadline = job, time.monotonic() + timeout
        try:
            self._process.stdin.write((json.dumps(astuple(pair)) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self.deadline = time.monotonic()

    def read(self) -> bool | None:
        """The verdict, or False for a worker that has just started; None if it is dead."""
        assert self._process.stdout is not None
        # A reply is one short line, written at once: this cannot block for long.
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        if not self.ready:
            self.ready = True
            return False
        self.job = None
        return bool(json.loads(line))

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
