"""What a job of a study on a cluster runs: one task, alone in its folder.

``python -m fgexpo.cli.study_job KEY FOLDER FACTS MINUTES fit ...``; :mod:`fgexpo.study.slurm`
sends it.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from ..robustness.parent import end_with_parent


def run(arguments: list[str]) -> int:
    """Run the task to its end, or until its time is up.

    Args:
        arguments: the task's name, folder and facts, the minutes that it may take, and the command
            line that it is.

    Returns:
        The exit status, which is also left in the task's folder.
    """
    from ..files import locked, write_json
    from ..parallel.launched import is_first
    from ..study.processes import into_log
    from ..study.slurm import ENDED
    from ..study.task import Task, run_task
    from .command_line import run_to_the_end

    key, folder, facts, minutes, *command = arguments

    def in_time(given: list[str]) -> int:
        return run_to_the_end([*given, f"--stop.max_minutes={minutes}"])

    if not is_first():  # another process of the same run, which Lightning has started
        return in_time(command)
    task = Task(key, Path(folder), command, facts)
    # Another job may still be at it, and its log with it.
    with locked(task.folder, f"the folder {folder!r} of {key}", wait=True):
        into_log(task.log)
        status = run_task(in_time, task)
        write_json(task.folder / ENDED, {"status": status})
    return status


def _stop_gently(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()
    # The cluster's warning before it takes the machine away, by way of submitit.
    signal.signal(signal.SIGUSR2, _stop_gently)
    # The job is a single task, and Lightning starts the other processes of the run itself.
    os.environ.pop("SLURM_NTASKS", None)
    sys.exit(run(sys.argv[1:]))
