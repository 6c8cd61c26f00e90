"""The command line: Lightning's subcommands over the project's slots."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial

from lightning.pytorch.utilities import rank_zero_only

from .. import datamodules, rewards, tasks  # noqa: F401
from ..callbacks import Left

# Imported for its side effect: YAML can name a slot's class once its module is loaded.
from ..curriculum import alternatives as curricula  # noqa: F401
from ..errors import EnvironmentFailure
from ..module import GRPOModule  # noqa: F401
from ..outside import TRACEBACK, in_one_sentence
from ..outside.quiet import HARMLESS_BUT_IN_FIT, hush
from ..rewards.reward import Reward  # noqa: F401
from ..supervised import SupervisedModule  # noqa: F401
from . import compare, export, from_gguf, plan, profile, study
from .fit import FGExpoCLI
from .imports import restrict_imports
from .located import located
from .mistakes import WITH_FLAGS
from .paths import searched

# Exit status of a study's run that saved and stopped before its end.
LEFT = 3
SECONDS_FOR_THE_FIRST = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit status.

    Bad input ends it with one sentence and status 2, a failure of the machine with one sentence and
    status 1. ``FGEXPO_TRACEBACK=1`` shows where each came from; a bug of ours always does.
    """
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    hush(everywhere=True)
    if command != "fit":
        warnings.filterwarnings("ignore", HARMLESS_BUT_IN_FIT)
    threading.excepthook = tell_of_thread
    try:
        _stand_somewhere()
        restrict_imports()
        if command in COMMANDS:
            COMMANDS[command](rest)
        else:
            FGExpoCLI(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        told = in_one_sentence(error)
        if told is None or os.environ.get(TRACEBACK):
            raise
        sentence, status = told
        if command not in COMMANDS or command in WITH_FLAGS:
            sentence = searched(located(sentence, rest), rest)
        let_the_first_speak()
        print(f"error: {sentence}", file=sys.stderr)
        return status
    return 0


def tell_of_thread(failure: threading.ExceptHookArgs) -> None:
    """Say in one line why a library's thread ended, such as TensorBoard's writer on a full disk.

    The library raises the same error again where it is next asked to write, which ends the run.
    """
    told = None if failure.exc_value is None else in_one_sentence(failure.exc_value)
    if told is None or os.environ.get(TRACEBACK):
        threading.__excepthook__(failure)
    else:
        print(f"a thread in the background stopped: {told[0]}", file=sys.stderr)


def let_the_first_speak() -> None:
    """On the other processes of a run, wait for the first, which mostly has the same to say.

    Its end makes the launcher end the others; who is still there afterwards speaks for itself.
    """
    if getattr(rank_zero_only, "rank", 0) or int(
        os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0
    ):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(SECONDS_FOR_THE_FIRST)


def _stand_somewhere() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise EnvironmentFailure("the current folder was deleted; go to one that exists") from error


def run_to_the_end(arguments: list[str]) -> int:
    """Run a command of this program; a run that saved and stopped early gets its own status."""
    try:
        return main(arguments)
    except Left:
        print("stopped early on request; rerun the same command to resume")
        return LEFT
    except SystemExit as end:  # of --print_config
        return int(end.code or 0)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "compare": compare.main,
    "export": export.main,
    "from_gguf": from_gguf.main,
    "plan": plan.main,
    "profile": profile.main,
    "study": partial(study.main, command=run_to_the_end),
}
