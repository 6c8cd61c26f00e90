"""The other side of :mod:`.process`: answers one job per line, until its input closes.

Runs as a separate program, given a module that does the work. It has two functions:
``prepare()``, called once before the first deadline starts, and ``answer(*fields)``, called for
each job, which returns what JSON can hold. Neither torch nor the trainer's main module is imported,
unless that module does so.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from importlib import import_module

MEMORY_LIMIT_BYTES = 2 * 2**30
_PR_SET_PDEATHSIG = 1


def main(module: str) -> None:
    """Read a job's fields in JSON from stdin, write its answer in JSON, line by line.

    Args:
        module: does the work, dotted.
    """
    # A computation that cannot be interrupted must not outlive a killed trainer.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        return
    # Ctrl-C reaches the whole process group; the parent decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    # The libraries that do the work may print; that must not reach the protocol's channel.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = import_module(module)
    work.prepare()
    print("ready", file=channel, flush=True)
    for line in sys.stdin:
        print(json.dumps(work.answer(*json.loads(line))), file=channel, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
