"""A grading process that can be killed: the deadline is held by the parent, not by the worker."""

import json
import os
import select
import subprocess
import sys

# Below the watchdog's limit, so that this reason is the one that is told.
START_SECONDS = 40.0


class GraderProcess:
    """Runs :mod:`fgexpo.rewards.worker` on demand; replaces it when an answer hangs or kills it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def equal(self, gold: str, answer: str, timeout: float) -> bool | None:
        """Grade one pair within ``timeout`` seconds; None when it hung or broke the worker."""
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write((json.dumps([gold, answer]) + "\n").encode())
            process.stdin.flush()
        except BrokenPipeError:
            self.close()
            return None
        line = self._read_line(timeout)
        if line is None:
            self.close()
            return None
        return bool(json.loads(line))

    def close(self) -> None:
        """Kill the worker, if there is one, and reap it."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def __del__(self) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            # gmpy2 numbers cannot be interrupted or limited, so sympy must use Python's own.
            environment = {**os.environ, "SYMPY_GROUND_TYPES": "python"}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fgexpo.rewards.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            if self._read_line(START_SECONDS) is None:
                self.close()
                raise RuntimeError(
                    f"the verifier's worker died or hung while starting; "
                    f"`{sys.executable} -m fgexpo.rewards.worker` shows why"
                )
        assert self._process is not None
        return self._process

    def _read_line(self, timeout: float) -> bytes | None:
        assert self._process is not None and self._process.stdout is not None
        # A reply is one short line, written at once: select then readline cannot block for long.
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        return (self._process.stdout.readline() or None) if ready else None
