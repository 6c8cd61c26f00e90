"""Lines about a round of tasks: what starts and ends, when all will be done, and no silence."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .task import LEFT, Task

# No silence is longer than this, in seconds.
SILENCE = 25.0


@dataclass
class Progress:
    """Lines about a round of tasks.

    Attributes:
        say: prints a line.
        what: name of the tasks.
        total: how many there are.
        quiet: whether to leave out the start and the end of each.
    """

    say: Callable[[str], None]
    what: str
    total: int
    quiet: bool = False
    done: int = 0
    running: list[Task] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    spoke: float = field(default_factory=time.monotonic)
    started: dict[str, float] = field(default_factory=dict)

    def tell(self, line: str) -> None:
        """Print a line that begins with the tasks' name."""
        self.say(f"{self.what}: {line}")
        self.spoke = time.monotonic()

    def start(self, task: Task, place: str) -> None:
        """A task has started."""
        self.running.append(task)
        self.started.setdefault(task.key, time.monotonic())
        if not self.quiet:
            self.tell(f"{task.key} started{place}, log {task.log}")

    def end(self, task: Task, status: int | None) -> None:
        """A task has ended, with this exit status; None if it left none."""
        self.running.remove(task)
        self.done += 1
        if self.quiet:
            return
        seconds = time.monotonic() - self.started.get(task.key, self.began)
        state = "finished" if status == 0 else f"FAILED ({_named(status)}, see {task.log})"
        self.tell(f"{self.done}/{self.total} {task.key} {state} after {_long(seconds)}{self.eta()}")

    def cut(self, task: Task, status: int | None) -> None:
        """A task was cut off, and is started again."""
        self.running.remove(task)
        self.tell(f"{task.key} was cut off ({_named(status)}) and starts again")

    def eta(self) -> str:
        """When all will be done, if the others take as long as those before."""
        if not self.done or self.done == self.total:
            return ""
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        end = datetime.now() + timedelta(seconds=left)
        day = "" if left < 20 * 3600 else f"{end:%Y-%m-%d} "
        return f"; all {self.what} by {day}{end:%H:%M:%S}"

    def beat(self) -> None:
        """If it has been silent for long, say how far it is, and what a task printed last."""
        if time.monotonic() - self.spoke < SILENCE or not self.running:
            return
        task = self.running[0]
        words = [] if self.quiet else task.last_words(1)
        said = f"; {task.key}: {words[-1][:100]}" if words else ""
        self.tell(f"{self.done}/{self.total} done, {len(self.running)} under way{self.eta()}{said}")


def _named(status: int | None) -> str:
    if status is None:
        return "no exit status"
    return "saved and stopped early" if status == LEFT else f"exit status {status}"


def _long(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
