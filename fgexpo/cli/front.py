"""The front page: what needs no heavy import is answered before any is made."""

import os
import sys
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version

from .. import __version__
from ..errors import UserError

NAMED = ("torch", "lightning", "transformers", "vllm", "math-verify")
# What each command does, and an example.
COMMANDS = {
    "fit": ("train a policy", "fit --config configs/tiny.yaml"),
    "test": ("score a model on benchmarks", "test --config configs/eval/tiny.yaml"),
    "validate": (
        "score it on the training run's questions",
        "validate --config configs/tiny.yaml",
    ),
    "predict": (
        "sample and grade completions",
        "predict --config configs/tiny.yaml --rollouts.save=true",
    ),
    "export": (
        "make a Hugging Face folder of a checkpoint",
        "export --ckpt_path FILE.ckpt --out my-model",
    ),
    "compare": ("compare two models question by question", "compare A/results.json B/results.json"),
    "study": ("train arms x seeds and report on them", "study configs/studies/ablation.yaml"),
    "plan": ("memory and time of a run, and advice", "plan --config configs/r1_1p5b.yaml"),
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


def versions() -> str:
    """This package's version, and those of the libraries that a report of a fault should name."""
    found = [f"fgexpo {__version__}"]
    for name in NAMED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


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
        print(versions())
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
    if not {"-h", "--help"} & set(rest):
        from .mistakes import check_command

        check_command(command, rest)
        quiet = command not in LIGHTNINGS or any(each.startswith("--print_config") for each in rest)
        if not quiet and _is_first():
            # The imports take seconds, and a start should not look like a hang.
            print(f"fgexpo {__version__} {command}: loading libraries", file=sys.stderr, flush=True)
    return None


def _is_first() -> bool:
    """Whether no launcher has made this another process of a run."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def told(arguments: list[str]) -> int | None:
    """:func:`answer`, with an error told in its sentence: the exit status, or None."""
    try:
        return answer(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
