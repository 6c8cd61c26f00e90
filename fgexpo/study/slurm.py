"""The launcher for a SLURM cluster: each task is a job, sent through ``submitit``.

What is sent is a command line. The jobs do not need the study: it may be killed, and finds them
when it is started again. A folder's lock keeps two jobs from running the same task at once.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import is_locked, write_json, write_text
from ..outside import reading
from .spec import Slurm
from .task import Task

# In a task's folder: the job that has it, and the exit status of one that ended by itself.
JOB, ENDED = "job.json", "ended.json"
PROGRAM = (sys.executable, "-m", "fgexpo.cli.study_job")
# Of a job's time, what a run leaves for saving; imports before its clock starts count too.
_SPARE, _LEAST_SPARE = 0.05, 3


class SlurmLauncher:
    """Sends tasks to a cluster, and to it again those that preemption or a time limit cut off.

    Args:
        settings: what a job asks of the cluster.
        folder: for the scripts and logs of the jobs; on a disk that the cluster shares.
        name: of the jobs, in the cluster's queue.
        cluster: ``slurm``; or ``local``, where submitit starts jobs on this machine.
        program: what a job runs, before the task's own arguments.
        every: seconds between two looks at the jobs.

    Raises:
        UserError: when submitit is not installed, or there is no SLURM here.
    """

    at_once: int | None = None
    resubmits = True

    def __init__(
        self,
        settings: Slurm,
        folder: Path,
        name: str = "fgexpo",
        cluster: str = "slurm",
        program: Sequence[str] = PROGRAM,
        every: float = 2.0,
    ) -> None:
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise UserError(
                "--launcher slurm needs the package submitit; install fgexpo[slurm]"
            ) from error
        self._submitit = submitit
        self.settings, self.folder = settings, folder
        self.cluster, self.program, self.every = cluster, list(program), every
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        except RuntimeError as error:  # there is no srun
            raise UserError(
                "--launcher slurm: this machine has no srun; run the study where jobs can be "
                "submitted to SLURM, or leave out --launcher"
            ) from error
        self._executor.update_parameters(**job_parameters(settings, name, cluster))
        self._flying: list[tuple[Task, Any]] = []
        self._held: list[Task] = []
        self._sent: set[str] = set()

    def start(self, tasks: Sequence[Task]) -> list[str]:
        """Send each task that no job has yet; several as one array of jobs."""
        places, new = {}, []
        for task in tasks:
            job = self._job_of(task)
            if job is not None:
                self._flying.append((task, job))
                places[task.key] = f" before, as job {job.job_id}"
            elif task.key in self._sent and self._full():
                self._held.append(task)
                places[task.key] = " again as soon as there is room"
            else:
                new.append(task)
        for task, job in zip(new, self._submit(new), strict=True):
            places[task.key] = f" as job {job.job_id}"
        return [places[task.key] for task in tasks]

    def wait(self, seconds: float) -> list[tuple[Task, int | None]]:
        """Tasks whose jobs ended within this time, with exit statuses; None if cut off."""
        until = time.monotonic() + seconds
        while True:
            ended = [(task, job) for task, job in self._flying if _is_over(task, job)]
            if ended or time.monotonic() >= until:
                break
            time.sleep(self.every)
        found = []
        for task, job in ended:
            self._flying.remove((task, job))
            found.append((task, _status(task, job)))
            (task.folder / JOB).unlink(missing_ok=True)
        while self._held and not self._full():
            self._submit([self._held.pop(0)])
        return found

    def close(self) -> None:
        """Forget the jobs, which go on; the next study finds them by their notes."""
        self._flying.clear()
        self._held.clear()

    def _full(self) -> bool:
        room = self.settings.at_once
        return room is not None and len(self._flying) >= room

    def _submit(self, tasks: Sequence[Task]) -> list[Any]:
        if not tasks:
            return []
        spare = max(_LEAST_SPARE, self.settings.minutes * _SPARE)
        for task in tasks:
            (task.folder / ENDED).unlink(missing_ok=True)
        commands = [
            self._submitit.helpers.CommandFunction(
                [
                    *self.program,
                    *(task.key, str(task.folder), task.facts),
                    f"{self.settings.minutes - spare:g}",
                    *task.arguments,
                ],
                verbose=False,
                cwd=Path.cwd(),  # paths of the study and of its configs are relative to it
            )
            for task in tasks
        ]
        try:
            with self._executor.batch():
                jobs = [self._executor.submit(command) for command in commands]
        except _refusals(self._submitit) as error:
            raise UserError(
                f"--launcher slurm: sbatch refused the jobs ({' '.join(str(error).split())[:300]})"
            ) from error
        for task, job in zip(tasks, jobs, strict=True):
            write_json(task.folder / JOB, {"job": job.job_id})
            self._sent.add(task.key)
            self._flying.append((task, job))
        return jobs

    def _job_of(self, task: Task) -> Any:
        """The job that a study before this one has sent for the task, if it is not over."""
        note = task.folder / JOB
        if not note.is_file():
            return None
        with reading(note, "the note of a job", "study"):
            name = str(json.loads(note.read_text())["job"])
        kinds = {"slurm": self._submitit.SlurmJob, "local": self._submitit.LocalJob}
        job = kinds[self.cluster](folder=self.folder, job_id=name)
        return None if _is_over(task, job) else job


def job_parameters(settings: Slurm, name: str, cluster: str = "slurm") -> dict[str, Any]:
    """The settings as submitit names them."""
    found: dict[str, Any] = {
        "name": name,
        "timeout_min": settings.minutes,
        "cpus_per_task": settings.cpus,
        "gpus_per_node": settings.gpus or None,
        "slurm_partition": settings.partition,
        "slurm_array_parallelism": settings.at_once,
        "slurm_additional_parameters": settings.extra or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _refusals(submitit: Any) -> tuple[type[Exception], ...]:
    """What submitit raises when sbatch says no."""
    errors = submitit.core.utils
    return errors.FailedJobError, errors.FailedSubmissionError


def _is_over(task: Task, job: Any) -> bool:
    # Without its starter, a job on this machine looks as if it had ended; its lock tells.
    return job.done() and not is_locked(task.folder)


def _status(task: Task, job: Any) -> int | None:
    if task.finished:
        return 0
    if (task.folder / ENDED).is_file():
        with reading(task.folder / ENDED, "the exit status of a job", "study"):
            return int(json.loads((task.folder / ENDED).read_text())["status"])
    if not task.log.is_file():
        write_text(task.log, f"job {job.job_id} ended before it began, see {job.paths.stderr}\n")
    return None
