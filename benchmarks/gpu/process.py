"""Runs a section in its own process: an error, a crash or a hang in it stops no other section.

The process is forked from a server that has imported the libraries but never used a GPU, since a
GPU's driver does not survive a fork. Findings go through a pipe at once, so that none is lost.
"""

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from .report import Section

# None of these may ask for a GPU when it is imported.
PRELOAD = [
    "fgexpo.rollout",
    "fgexpo.update.prepare",
    "transformers.models.qwen2.modeling_qwen2",
]
LATE = "not done within its time limit, and stopped"
STARTING = 120.0  # seconds that a process may take to import what its section needs
ENDING = 10.0  # seconds that a process may take to end when its section has
Work = Callable[[Any], Iterator[Any]]


def prepare() -> None:
    """Import the libraries once for all sections, before the first one."""
    # If a library asks for a GPU after all, it gets an answer without opening the driver.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    # No section may look for anything outside, nor tell anything to it.
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)


def run(section: Section, work: Work, setting: Any, limit: float) -> Iterator[None]:
    """Run a section; yields whenever there is something new in it.

    Args:
        section: receives the findings.
        work: makes the findings from ``setting``; both are pickled.
        setting: what is measured.
        limit: seconds after which it is given up, from when its process has started.
    """
    context = multiprocessing.get_context("forkserver")
    began = time.monotonic()
    section.state = "running"
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, setting, send))
    process.start()
    send.close()
    try:
        for finding in _messages(section, receive, limit):
            section.findings.append(finding)
            section.seconds = time.monotonic() - began
            yield
        process.join(0 if section.error == LATE else ENDING)
        if section.state == "running":
            section.state = "failed"
            section.error = section.error or f"the process died, exit status {process.exitcode}"
    finally:
        _end(process)
        section.seconds = time.monotonic() - began
    yield


def _messages(section: Section, receive: Connection, limit: float) -> Iterator[Any]:
    deadline = time.monotonic() + STARTING
    while receive.poll(max(0.0, deadline - time.monotonic())):
        try:
            kind, content = receive.recv()
        except EOFError:
            return
        if kind == "started":
            deadline = time.monotonic() + limit
        elif kind == "finding":
            yield content
        else:
            section.state, section.error = kind, content
            return
    section.error = LATE


def _child(work: Work, setting: Any, send: Connection) -> None:
    os.setsid()  # its own process group, with everything it starts
    send.send(("started", ""))
    try:
        for finding in work(setting):
            send.send(("finding", finding))
        send.send(("done", ""))
    except BaseException as error:
        traceback.print_exc()
        # Only the first line: CUDA's errors continue with general advice.
        [message, *_] = str(error).splitlines() or [""]
        send.send(("failed", f"{type(error).__name__}: {message}"))


def _end(process: Any) -> None:
    """End the process and everything that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # it may not have made its group yet
    process.join()
