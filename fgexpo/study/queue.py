"""Runs commands side by side, each in its own process, and prints when all will be done."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import wait
from pathlib import Path

from ..errors import UserError
from ..files import locked, write_json, write_text
from ..outside import reading
from .processes import start

ARGUMENTS, FINISHED = "arguments.txt", "finished.json"
_TAIL = 5


@dataclass(frozen=True)
class Task:
    """A command with its own folder, in which it is marked as finished.

    Attributes:
        key: its name.
        folder: where its log and mark are.
        arguments: of ``python -m fgexpo``.
        facts: anything else it depends on, such as the contents of files.
    """

    key: str
    folder: Path
    arguments: list[str]
    facts: str = ""

    @property
    def finished(self) -> bool:
        """Whether it has finished with exactly these arguments.

        Raises:
            UserError: when it ran, or started to train, with other arguments.
        """
        note, done = self.folder / ARGUMENTS, (self.folder / FINISHED).is_file()
        begun = done or any(self.folder.glob("version_*"))
        with reading(note, f"the arguments of the run {self.key}", "study"):
            noted = note.read_text() if begun and note.is_file() else self._shown()
        if noted != self._shown():
            raise UserError(
                f"study: {self.folder} holds a run with other settings, see its {ARGUMENTS}; "
                "remove it, or give the study another folder"
            )
        return done

    def note(self) -> None:
        """Record its arguments."""
        write_text(self.folder / ARGUMENTS, self._shown())

    def _shown(self) -> str:
        return "\n".join([*self.arguments, *([f"# {self.facts}"] if self.facts else [])]) + "\n"


@dataclass(frozen=True)
class Jobs:
    """How tasks are run.

    Attributes:
        command: runs a command line and returns its exit status; importable by other processes.
        at_once: tasks side by side.
        say: prints a line about progress.
    """

    command: Callable[[list[str]], int]
    at_once: int
    say: Callable[[str], None] = print


def work_off(jobs: Jobs, tasks: list[Task], what: str) -> None:
    """Run the tasks that are not finished yet.

    A task that fails does not stop the others; its output is in its folder's ``log``.

    Args:
        jobs: how to run them.
        tasks: the tasks.
        what: their name in lines about progress.

    Raises:
        UserError: at the end, naming each task that failed and the last lines it printed.
    """
    at_once, say = jobs.at_once, jobs.say
    waiting = [task for task in tasks if not task.finished]
    total, began = len(waiting), time.monotonic()
    if len(waiting) < len(tasks):
        say(f"{what}: {len(tasks) - total} of {len(tasks)} are already finished")
    running, failed, done = {}, [], 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.pop(0)
                task.note()
                process = start(_run, jobs.command, task, log=task.folder / "log")
                running[process.sentinel] = task, process
            for sentinel in wait(list(running)):
                task, process = running.pop(sentinel)  # pyright: ignore[reportArgumentType]
                process.join()
                done += 1
                if process.exitcode != 0:
                    failed.append(task)
                left = (time.monotonic() - began) / done * (total - done)
                end = datetime.now() + timedelta(seconds=left)
                state = "finished" if process.exitcode == 0 else f"FAILED ({process.exitcode})"
                say(f"{what}: {done}/{total} {task.key} {state}; all by {end:%H:%M:%S}")
    finally:
        # A run resumes from its last checkpoint; after a gentle stop it would count as finished.
        for _, process in running.values():
            process.kill()
            process.join()
    if failed:
        raise UserError("study: " + "; ".join(_reasons(failed)))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _run(command: Callable[[list[str]], int], task: Task) -> int:
    # If the study was killed, one of its runs may still be alive; then this one waits for it.
    with locked(task.folder, f"the folder {str(task.folder)!r} of {task.key}", wait=True):
        if task.finished:
            return 0
        began = time.monotonic()
        code = command(task.arguments)
        if code == 0:
            write_json(task.folder / FINISHED, {"seconds": time.monotonic() - began})
        return code


def _reasons(failed: list[Task]) -> list[str]:
    """The last lines that the tasks printed; tasks with the same lines are named together."""
    by_words: dict[str, list[Task]] = {}
    for task in failed:
        lines = (task.folder / "log").read_text(errors="replace").splitlines()[-_TAIL:]
        by_words.setdefault(" | ".join(lines), []).append(task)
    return [
        f"{', '.join(task.key for task in tasks)} failed, see {tasks[0].folder / 'log'}: {words}"
        for words, tasks in by_words.items()
    ]
