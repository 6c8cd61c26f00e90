"""``python -m fgexpo study FILE``: arms x seeds side by side, and a report of what they show."""

from collections.abc import Callable

from jsonargparse import ArgumentParser

from ..errors import UserError
from ..study.queue import Jobs, cores
from ..study.report import write_report
from ..study.run import run_study
from ..study.spec import read_study


def main(arguments: list[str], command: Callable[[list[str]], int]) -> None:
    """Parse, make the runs that are missing, write table, figures and report.

    Args:
        arguments: of this command.
        command: runs a command line of this program to its end.
    """
    parser = ArgumentParser(
        prog="fgexpo study",
        description="Train arms x seeds of a study; the same command after a kill goes on.",
    )
    parser.add_argument("study", type=str, help="YAML of the study, such as configs/studies/*.yaml")
    parser.add_argument("--jobs", type=int, default=cores(), help="runs at once")
    parser.add_argument(
        "--report",
        type=str,
        default=None,
        help="Markdown to write, with figures and table beside it; by default in the folder",
    )
    parser.add_argument(
        "--table",
        type=str,
        default=None,
        help="report on this table of an earlier study instead of making any run",
    )
    config = parser.parse_args(arguments)
    if config.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {config.jobs}")
    study = read_study(config.study)
    table = config.table or run_study(study, Jobs(command, config.jobs))
    report = config.report or f"{study.folder}/report.md"
    write_report(study, config.study, str(table), report)
    print(f"table: {table}\nreport: {report}")
