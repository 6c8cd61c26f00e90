"""A command that another of our commands has started ends with it, however that one dies.

A fit starts a fit that makes its base, and Lightning starts the other processes of a run. If the
one that started them is killed, nobody would be there to end them.
"""

import ctypes
import os
import signal

_PARENT = "FGEXPO_PARENT"
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def be_a_parent() -> None:
    """Let the commands that this process starts from now on end with it."""
    os.environ[_PARENT] = str(os.getpid())


def end_with_parent() -> None:
    """End when the command that has started this one ends; call it first of all.

    Nothing happens in a process that somebody else has started: a shell or a scheduler may end
    before it.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or parent != str(os.getppid()):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if parent != str(os.getppid()):  # it has just died
        os._exit(1)
