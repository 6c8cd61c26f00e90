"""A command with a folder of its own, which is run once, wherever that is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import locked, write_json, write_text
from ..outside import reading

ARGUMENTS, FINISHED, LOG = "arguments.txt", "finished.json", "log"
# Exit status of a run that saved and stopped before its end.
LEFT = 3
_TAIL = 5
_LONGEST = 160

# Runs a command line of this program and returns its exit status.
Command = Callable[[list[str]], int]


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

    @property
    def log(self) -> Path:
        """The file with what it prints."""
        return self.folder / LOG

    def note(self) -> None:
        """Record its arguments."""
        write_text(self.folder / ARGUMENTS, self._shown())

    def saved(self) -> int:
        """When it last saved a checkpoint, in ns; 0 if never."""
        times = [path.stat().st_mtime_ns for path in self.folder.glob("version_*/**/*.ckpt")]
        return max(times, default=0)

    def last_words(self, count: int = _TAIL) -> list[str]:
        """The last lines that it printed; of an error, all of its lines."""
        if not self.log.is_file():
            return []
        text = self.log.read_text(errors="replace")
        # A bar or a validation may have written over its own line.
        lines = [line.rpartition("\r")[2].strip() for line in text.splitlines()[-100:]]
        lines = [line for line in lines if line]
        errors = [place for place, line in enumerate(lines) if line.startswith("error: ")]
        return lines[errors[-1] :] if errors else lines[-count:]

    def _shown(self) -> str:
        return "\n".join([*self.arguments, *([f"# {self.facts}"] if self.facts else [])]) + "\n"


def run_task(command: Command, task: Task) -> int:
    """Run a task, alone in its folder, and mark it when it is done.

    Args:
        command: runs its arguments.
        task: the task.

    Returns:
        The exit status; 0 as well if another process has finished it meanwhile.
    """
    # If the study was killed, one of its runs may still be alive; then this one waits for it.
    with locked(task.folder, f"the folder {str(task.folder)!r} of {task.key}", wait=True):
        if task.finished:
            return 0
        began = time.monotonic()
        code = command(task.arguments)
        if code == 0:
            write_json(task.folder / FINISHED, {"seconds": time.monotonic() - began})
        return code


def reasons(failed: list[Task]) -> list[str]:
    """What failed tasks said last, a sentence for each; those with the same words together."""
    by_words: dict[str, list[Task]] = {}
    for task in failed:
        words = " | ".join(line[:_LONGEST] for line in task.last_words())
        by_words.setdefault(words.removeprefix("error: "), []).append(task)
    return [
        f"{', '.join(task.key for task in tasks)} failed, see {tasks[0].log}: {words}"
        for words, tasks in by_words.items()
    ]
