"""The other side of :mod:`.process`: grades one pair per line, until its input closes.

Runs as a separate program, so it imports neither torch nor the trainer's main module.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import sys

MEMORY_LIMIT_BYTES = 2 * 2**30
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read a pair's fields in JSON from stdin, write ``true`` or ``false``, line by line."""
    # A computation that cannot be interrupted must not outlive a killed trainer.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        return
    # Ctrl-C reaches the whole process group; the parent decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    # math-verify and sympy may print; that must not reach the protocol's channel.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # It warns that its own alarms are off; the parent enforces the deadline instead.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    from .compare import Pair, symbolic_equal

    symbolic_equal(Pair("1", "\\frac{2}{2}"))  # does the imports before the first deadline starts
    print("ready", file=channel, flush=True)
    for line in sys.stdin:
        try:
            equal = symbolic_equal(Pair(*json.loads(line)))
        except (Exception, MemoryError, RecursionError):
            # Whatever error a hostile answer causes, the answer is not equal to the gold one.
            equal = False
        print(json.dumps(equal), file=channel, flush=True)


if __name__ == "__main__":
    main()
