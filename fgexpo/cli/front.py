"""The front page: what needs no heavy import is answered before any is made."""

import os
import sys
from difflib import get_close_matches

from .. import __version__
from ..errors import UserError
from ..hub.software import versions
from ..parallel.launched import is_first

# What each command does, and an example.
COMMANDS = {
    "fit": ("train a policy", "fit --config configs/tiny.yaml"),
    "profile": (
        "ask a model a pool's questions before training",
        "profile --config configs/tiny.yaml --questions 200",
    ),
    "test": ("score a model on benchmarks", "test --config configs/eval/tiny.yaml"),
    "validate": (
        "score it on the training run's questions",
        "validate --config configs/tiny.yaml",
    ),
    "predict": (
        "sample and grade completions",
        "predict --config configs/tiny.yaml",
    ),
    "export": (
        "make a Hugging Face folder of a checkpoint",
        "export --ckpt_path FILE.ckpt --out my-model",
    ),
    "compare": ("compare two models question by question", "compare A/results.json B/results.json"),
    "study": ("train arms x seeds and report on them", "study studies/ablation"),
    "plan": ("memory and time of a run, and advice", "plan --config configs/r1_1p5b.yaml"),
    "from_gguf": ("make a model folder of a GGUF file", "from_gguf model.gguf --out my-model"),
    "options": ("what can stand in each slot", "options model.loss"),
}
LIGHTNINGS = ("fit", "validate", "test", "predict")


def page() -> str:
    """The text of ``--help``."""
    wide = max(map(len, COMMANDS)) + 2
    rows = [
        f"  {name:{wide}}{what}\n  {'':{wide}}  fgexpo {example}"
        for name, (what, example) in COMMANDS.items()
    ]
    return "\n".join(
        [
            "usage: fgexpo COMMAND [options]    (or: python -m fgexpo COMMAND [options])",
            "",
            "Reinforcement learning with verifiable rewards on maths: GRPO, AKL and GCS.",
            "",
            *rows,
            "",
            "fgexpo COMMAND --help lists a command's settings; fgexpo options lists every class",
            "that a configuration can name. --version prints the versions of what matters.",
        ]
    )


def answer(arguments: list[str]) -> int | None:
    """Answer what needs no work; None if there is work to do.

    Raises:
        UserError: for a command that there is not.
    """
    command, *rest = arguments or [""]
    if command in ("-h", "--help", ""):
        print(page())
        return 0 if command else 2
    if command == "--version":
        print(", ".join(f"{name} {is_at or 'not installed'}" for name, is_at in versions().items()))
        return 0
    if command == "options":
        from .options import main

        main(rest)
        return 0
    if command.startswith("-"):
        return None
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"there is no command {command!r}{meant} See `fgexpo --help`")
    if not _is_here():  # the current folder was deleted, of which the command itself tells
        return None
    if command == "study" and _answer_study(rest):
        return 0
    if not {"-h", "--help"} & set(rest):
        from .mistakes import check_command

        check_command(command, rest)
        loads = command in (*LIGHTNINGS, "study", "profile")
        if loads and not any(each.startswith("--print_config") for each in rest) and is_first():
            _say_loading(command)
    return None


def _answer_study(rest: list[str]) -> bool:
    """Print the help or the example, if that is what is asked for."""
    from . import study_arguments

    if {"-h", "--help"} & set(rest):
        print(study_arguments.page())
        return True
    if "--example" in rest:
        print(study_arguments.example(), end="")
        return True
    return False


def _is_here() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _say_loading(command: str) -> None:
    # The imports take seconds, and a start should not look like a hang.
    print(f"fgexpo {__version__} {command}: loading libraries", file=sys.stderr, flush=True)


def told(arguments: list[str]) -> int | None:
    """:func:`answer`, with an error told in its sentence: the exit status, or None."""
    try:
        return answer(arguments)
    except UserError as error:
        if is_first():  # every process of a run has the same to say
            print(f"error: {error}", file=sys.stderr)
        return 2
