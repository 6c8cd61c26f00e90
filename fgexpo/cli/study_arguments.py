"""What ``fgexpo study`` takes, read without heavy imports."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from ..catalogue.shipped import find_config, shipped_configs
from ..errors import UserError, several
from ..study.lines import Lines
from ..study.spec import Slurm

EXAMPLE = "studies/example"
PAGE = """\
usage: fgexpo study FILE [options]

Train the arms x seeds of a study and report on them. FILE is the study's YAML, or the name of one
that comes with fgexpo:
  {shipped}
Everything is checked before the first run. Rerun the same command to resume: what is finished is
not made again, and a killed run goes on from its last checkpoint.

  --example             print a small study that runs as it is: fgexpo study --example > my.yaml
  --jobs N              runs at once on this machine; default: its cores, {cores}
  --report FILE.md      the report, with figures and table beside it; default: report.md in the
                        study's folder
  --table FILE.parquet  report on the table of an earlier study, without any run
  --launcher NAME       local (default): processes of this machine;
                        slurm: jobs of a cluster, bases too (needs fgexpo[slurm])

With --launcher slurm, or as keys of the YAML:
  --slurm.partition P   default: the cluster's
  --slurm.minutes N     time limit of a job, {minutes}; a run saves before it and is sent again
  --slurm.gpus N        per run, {gpus}
  --slurm.cpus N        per run; default: the cluster's
  --slurm.at_once N     most jobs side by side; default: the cluster's
  --slurm.extra K=V     another option of sbatch, such as account=me; may be repeated

The keys of the YAML, how to read the report, and what is written where: docs/study.md"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: in one sentence.
        """
        message = re.sub(r"^argument (\S+): must", r"\1 must", message).removeprefix("argument ")
        raise UserError(f"{message}; see `fgexpo study --help`")


def page() -> str:
    """The text of ``study --help``."""
    names = ", ".join(name for name in shipped_configs() if name.startswith("studies/"))
    return PAGE.format(shipped=names, cores=cores(), minutes=Slurm.minutes, gpus=Slurm.gpus)


def example() -> str:
    """The text of ``study --example``."""
    return Path(find_config(EXAMPLE)).read_text()


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """The arguments, of which those that are left out are null; ``study`` is a file.

    Raises:
        UserError: for an option that there is not, or a value of the wrong kind.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--jobs", type=_whole(1))
    for option in ("--report", "--table"):
        parser.add_argument(option)
    parser.add_argument("--launcher", choices=("local", "slurm"))
    for each in fields(Slurm):
        option = f"--slurm.{each.name}"
        if each.name == "extra":
            parser.add_argument(option, action="append", type=_pair)
        else:
            kind = str if each.name == "partition" else _whole(0)
            parser.add_argument(option, type=kind)
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        given = unknown[0].partition("=")[0]
        options = [option for action in parser._actions for option in action.option_strings]
        near = get_close_matches(given, [*options, "--example", "--help"], 1)
        meant = f"did you mean {near[0]}?" if near else "see `fgexpo study --help`"
        raise UserError(f"study: there is no option {given}; {meant}")
    if found.study is None:
        raise UserError("study: name its YAML, such as studies/example; see `fgexpo study --help`")
    if found.jobs is None:
        found.jobs = cores()
    found.named, found.study = found.study, find_study(found.study)
    return found


def find_study(given: str) -> str:
    """The file that is given, or that comes with fgexpo under this name.

    Raises:
        UserError: when there is none, with the nearest name.
    """
    path = find_config(given)
    if not Path(path).exists():
        path = find_config(f"studies/{given}")
    if Path(path).exists():
        return path
    names = [name for name in shipped_configs() if name.startswith("studies/")]
    by_end = {name.removeprefix("studies/"): name for name in names}
    near = get_close_matches(given.removeprefix("studies/").removesuffix(".yaml"), by_end, 1)
    meant = f"did you mean {by_end[near[0]]}?" if near else f"there are {', '.join(names)}"
    raise UserError(
        f"study: {given!r} is neither a file, seen from {Path.cwd()}, nor the name of a study that "
        f"comes with fgexpo; {meant}"
    )


def check_arguments(arguments: list[str]) -> None:
    """Find mistakes in the arguments, and keys that the YAML may not have.

    Raises:
        UserError: with a line for each.
    """
    faults = Lines(read_arguments(arguments).study).faults()
    if faults:
        raise UserError(several(faults))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _whole(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return int(text)

    return convert


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(
            f"must be an option of sbatch and its value, such as account=me, got {text}"
        )
    return key.lstrip("-"), value
