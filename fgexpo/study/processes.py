"""Runs functions in processes that start fast: forked from a server with all imports done.

The server has read the catalogue too.
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
PRELOAD = ["fgexpo.cli.ready"]


def start(
    function: Callable[..., int | None],
    *arguments: Any,
    log: str | Path,
    environment: Mapping[str, str] | None = None,
) -> ForkServerProcess:
    """Start ``function(*arguments)`` with one thread; what it prints goes to ``log``.

    The exit status is what the function returns, or 1 after an exception, whose traceback is in the
    log.
    """
    # Takes effect when the server starts.
    CONTEXT.set_forkserver_preload(PRELOAD)
    process = CONTEXT.Process(target=_child, args=(function, arguments, str(log), environment))
    process.start()
    return process


def into_log(log: str | Path) -> None:
    """Let all that this process and its children print from now on go to a file."""
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _child(
    function: Callable[..., int | None],
    arguments: tuple[Any, ...],
    log: str,
    environment: Mapping[str, str] | None,
) -> None:
    into_log(log)
    os.environ.update(environment or {})
    import torch

    torch.set_num_threads(1)
    try:
        code = function(*arguments)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code or 0)
