"""``fgexpo study FILE``: arms x seeds side by side, and a report of their results."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields
from functools import partial

from ..errors import UserError
from ..study.checks import check_study
from ..study.header import header
from ..study.local import LocalLauncher
from ..study.queue import Launcher
from ..study.read_spec import read_study, slurm_problems
from ..study.report import write_report
from ..study.run import run_study, study_lock
from ..study.slurm import SlurmLauncher
from ..study.spec import Slurm, Study
from ..study.task import Command
from .check_run import check_run
from .study_arguments import cores, read_arguments

Say = Callable[[str], None]


def main(arguments: list[str], command: Command) -> None:
    """Check, make the missing runs, write table, figures and report.

    Args:
        arguments: of this command.
        command: runs one command line of this program to its end.

    Raises:
        UserError: naming what is wrong with the study, or the runs that failed.
    """
    given = read_arguments(arguments)
    study = with_flags(read_study(given.study), given)
    report = given.report or f"{study.folder}/report.md"
    say = partial(print, flush=True)
    with study_lock(study):
        table = given.table or _make_runs(study, given, command, report, say)
        write_report(study, given.named, table, report)
    say(f"table: {table}\nreport: {report}")


def _make_runs(study: Study, given: Namespace, command: Command, report: str, say: Say) -> str:
    for line in header(study, report, given.jobs):
        say(line)
    launcher = make_launcher(study, command, given.jobs)
    checks = LocalLauncher(check_run, min(given.jobs, cores()))
    checked = check_study(study, checks, given.study, report, say)
    return str(run_study(study, launcher, checked, say))


def with_flags(study: Study, given: Namespace) -> Study:
    """The study with what the flags say about where it runs.

    Raises:
        UserError: for a value out of range.
    """
    study.launcher = given.launcher or study.launcher
    for each in fields(Slurm):
        value = getattr(given, f"slurm.{each.name}")
        if value is not None:
            old = getattr(study.slurm, each.name)
            value = {**old, **dict(value)} if each.name == "extra" else value
            setattr(study.slurm, each.name, value)
    for fault in slurm_problems(study):
        raise UserError(f"--{fault}")
    return study


def make_launcher(study: Study, command: Command, jobs: int) -> Launcher:
    """The launcher that the study names."""
    if study.launcher == "local":
        return LocalLauncher(command, jobs)
    return SlurmLauncher(study.slurm, study.path / "slurm", f"fgexpo-{study.path.name}")
