"""Runs functions in processes that are cheap to start: forked from a server that has imported all.

A rank of a distributed run is such a process with the environment that a launcher would give it.
"""

import os
import socket
import sys
import time
from pathlib import Path

from fgexpo.files import Lock
from fgexpo.study.processes import start

__all__ = [
    "NOISE",
    "OUTER_LIMIT",
    "command_line",
    "free_port",
    "in_folder",
    "run_ranks",
    "start",
    "start_holder",
    "start_ranks",
    "wait",
]

# What libraries would say of themselves, if they were let: no run shows it.
NOISE = "Tip:|TPU|Loading weights"
# Seconds after which a test has failed for certain; no test is to end by it on a busy machine.
OUTER_LIMIT = 300


def command_line(arguments):
    """What ``python -m fgexpo`` does, in a process that has imported it already."""
    from fgexpo.cli import main

    return main(arguments)


def start_ranks(function, *arguments, log, world_size=2, environment=None):
    """Start one process a rank, as a launcher does; the logs are ``<log>-<rank>``."""
    port = free_port()
    return [
        start(
            function,
            *arguments,
            log=f"{log}-{rank}",
            environment={**rank_environment(rank, world_size, port), **(environment or {})},
        )
        for rank in range(world_size)
    ]


def run_ranks(function, *arguments, log, world_size=2, timeout=OUTER_LIMIT, **options):
    """Run to the end; fails with the logs unless every rank exits 0."""
    processes = start_ranks(function, *arguments, log=log, world_size=world_size, **options)
    codes = wait(processes, timeout)
    logs = [Path(f"{log}-{rank}").read_text() for rank in range(world_size)]
    assert codes == [0] * world_size, "\n".join(logs)
    return logs


def wait(processes, timeout=OUTER_LIMIT):
    """Exit codes; a process that does not end in time is killed, and its code is None."""
    codes = []
    for process in processes:
        process.join(timeout)
        codes.append(process.exitcode)
        if process.exitcode is None:
            process.kill()
            process.join()
    return codes


def start_holder(lock_file):
    """Start a process that holds a lock, and wait until it does: a process may take its own."""
    log = lock_file.with_name(f"{lock_file.name}.log")
    process = start(_hold, lock_file, log=log)
    while not log.exists() or "held" not in log.read_text():
        assert process.is_alive(), log.read_text()
        time.sleep(0.02)
    return process


def _hold(lock_file):
    Lock(lock_file, "it").take()
    print("held", flush=True)
    time.sleep(OUTER_LIMIT)


def rank_environment(rank, world_size, port):
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(world_size),
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_folder(folder, arguments):
    """What ``python -m fgexpo`` does in that folder, whose modules it can import."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    return command_line(arguments)
