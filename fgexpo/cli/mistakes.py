"""Mistakes in any command's arguments, told before anything heavy is imported."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from .gguf_source import find_gguf
from .hints import nearest
from .own_flags import own_flags
from .plugins import PLUGINS_VARIABLE, plugins
from .study_arguments import read_arguments
from .study_keys import check_study
from .typos import check_keys, flag_pairs, tell, wrong_value

# Commands that take what a run takes.
OF_A_RUN = ("fit", "validate", "test", "predict", "plan", "profile")
# Those of them that have flags of their own too.
WITH_FLAGS = ("plan", "profile")


def check_command(command: str, arguments: Sequence[str]) -> None:
    """Check a command's flags and the files that they name.

    Raises:
        UserError: with a line for each mistake.
    """
    check_plugins()
    if command == "study":
        check_study(read_arguments([*arguments]).study)
        return
    if command in OF_A_RUN:
        own = own_flags(command)[0] if command in WITH_FLAGS else {}
        check_keys(arguments, own, command)
        return
    flags, places = own_flags(command)
    faults: list[str] = []
    given: list[str] = []
    for option, value in flag_pairs(arguments, [name for name in flags if flags[name] == "flag"]):
        name = option.lstrip("-")
        if not option.startswith("-"):
            given.append(option)
        elif name not in flags:
            near = nearest(name, flags)
            there = f"did you mean --{near}?" if near else f"there are --{', --'.join(flags)}"
            faults.append(f"{option}: {command} has no such flag; {there}")
        elif flags[name] != "flag":
            faults += wrong_value(option, flags[name], value)
    if len(given) > len(places):
        wants = " and ".join(places) or "flags alone"
        faults.append(f"{command} takes {wants}; there is no place for {given[len(places)]!r}")
    tell(faults)
    if command == "from_gguf" and given:
        find_gguf(given[0])


def check_plugins() -> None:
    """Check that the packages of ``FGEXPO_PLUGINS`` are there; nothing is imported.

    Raises:
        UserError: naming the first that is not.
    """
    for name in plugins():
        top = name.partition(".")[0]
        if not top.isidentifier() or find_spec(top) is None:
            raise UserError(
                f"{PLUGINS_VARIABLE}: there is no module or package {top!r} in {Path.cwd()} or "
                "among the installed packages; it is a comma-separated list of module names"
            )
