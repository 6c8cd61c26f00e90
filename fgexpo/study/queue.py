"""Works off tasks through a launcher, and says what runs and when all will be done.

A launcher knows where tasks run. This file knows which are left to do, what to say about them, and
what to do about one that was cut off.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import UserError, several
from .progress import Progress
from .task import LEFT, Task, reasons

# Seconds between two looks at the tasks, if none ends.
POLL = 5.0
# How often a task that saves nothing may be cut off before it counts as failed.
FRUITLESS = 3


class Launcher(Protocol):
    """Where tasks run.

    Attributes:
        at_once: most tasks to hand over at a time; None for all.
        resubmits: whether a task that was cut off is to be started again.
    """

    at_once: int | None
    resubmits: bool

    def start(self, tasks: Sequence[Task]) -> list[str]:
        """Start them; return for each where it is, for a line about progress."""
        ...

    def wait(self, seconds: float) -> list[tuple[Task, int | None]]:
        """Tasks that ended within this time, with exit statuses; None for one that was cut off."""
        ...

    def close(self) -> None:
        """The study ends here, finished or not."""
        ...


def work_off(
    launcher: Launcher, tasks: Sequence[Task], what: str, say: Callable[[str], None] = print
) -> None:
    """Run the tasks that are not finished yet.

    A task that fails does not stop the others; its output is in its folder's ``log``.

    Args:
        launcher: where to run them.
        tasks: the tasks.
        what: their name in lines about progress.
        say: prints a line about progress.

    Raises:
        UserError: at the end, naming each task that failed and the last lines it printed.
    """
    waiting = [task for task in tasks if not task.finished]
    if len(waiting) < len(tasks):
        say(f"{what}: {len(tasks) - len(waiting)} of {len(tasks)} are already finished")
    failed = drain(launcher, waiting, Progress(say, what, len(waiting)))
    if failed:
        raise UserError(several([f"study: {reason}" for reason in reasons(failed)]))


def drain(launcher: Launcher, tasks: Sequence[Task], progress: Progress) -> list[Task]:
    """Run all of these tasks to their ends; return those that failed."""
    failed: list[Task] = []
    waiting = list(tasks)
    saved = {task.key: task.saved() for task in waiting}
    fruitless = dict.fromkeys(saved, 0)
    try:
        while waiting or progress.running:
            room = launcher.at_once
            some = waiting if room is None else waiting[: max(0, room - len(progress.running))]
            waiting = waiting[len(some) :]
            for task in some:
                task.note()
            for task, place in zip(some, launcher.start(some), strict=True):
                progress.start(task, place)
            for task, status in launcher.wait(POLL):
                if status in (None, LEFT) and launcher.resubmits:
                    stuck = task.saved() == saved[task.key]
                    fruitless[task.key] = fruitless[task.key] + 1 if stuck else 0
                    saved[task.key] = task.saved()
                    if fruitless[task.key] < FRUITLESS:
                        progress.cut(task, status)
                        waiting.append(task)
                        continue
                if status != 0:
                    failed.append(task)
                progress.end(task, status)
            progress.beat()
    finally:
        launcher.close()
    return failed
