"""``python -m fgexpo study FILE``: arms x seeds side by side, and a report of their results."""

from collections.abc import Callable

from ..catalogue.shipped import find_config
from ..errors import UserError
from ..outside.parser import Parser
from ..study.queue import Jobs, cores
from ..study.report import write_report
from ..study.run import run_study, study_lock
from ..study.spec import read_study


def main(arguments: list[str], command: Callable[[list[str]], int]) -> None:
    """Parse, make the missing runs, write table, figures and report.

    Args:
        arguments: of this command.
        command: runs one command line of this program to its end.
    """
    parser = Parser(
        prog="fgexpo study",
        description="Train the arms x seeds of a study; rerun the same command to resume.",
    )
    parser.add_argument("study", type=str, help="YAML of the study, such as configs/studies/*.yaml")
    parser.add_argument("--jobs", type=int, default=cores(), help="runs at once")
    parser.add_argument(
        "--report",
        type=str,
        default=None,
        help="Markdown to write, with figures and table beside it; default: in the folder",
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
    study = read_study(find_config(config.study))
    report = config.report or f"{study.folder}/report.md"
    with study_lock(study):
        table = config.table or run_study(study, Jobs(command, config.jobs))
        write_report(study, config.study, str(table), report)
    print(f"table: {table}\nreport: {report}")
