"""The launcher for one machine: processes beside each other."""

from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

from .processes import start
from .task import Command, Task, run_task


class LocalLauncher:
    """Runs tasks in processes of this machine, which end with the study.

    Args:
        command: runs a command line and returns its exit status; importable by other processes.
        at_once: tasks side by side.
    """

    # A run that was told to stop is to stay stopped.
    resubmits = False

    def __init__(self, command: Command, at_once: int) -> None:
        self.command = command
        self.at_once: int | None = at_once
        self._running: dict[int, tuple[Task, ForkServerProcess]] = {}

    def start(self, tasks: Sequence[Task]) -> list[str]:
        """Start a process for each."""
        for task in tasks:
            process = start(run_task, self.command, task, log=task.log)
            self._running[process.sentinel] = task, process
        return [""] * len(tasks)

    def wait(self, seconds: float) -> list[tuple[Task, int | None]]:
        """Tasks that ended within this time, with exit statuses."""
        ended = []
        for sentinel in wait(list(self._running), seconds):
            task, process = self._running.pop(sentinel)  # pyright: ignore[reportArgumentType]
            process.join()
            ended.append((task, process.exitcode))
        return ended

    def close(self) -> None:
        """Kill what still runs; a run resumes from its last checkpoint.

        After a gentle stop it would count as finished.
        """
        for _, process in self._running.values():
            process.kill()
            process.join()
        self._running.clear()
