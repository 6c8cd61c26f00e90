"""``python -m fgexpo profile --config X``: what a pool is to a model before any training."""

import os
from argparse import Namespace
from pathlib import Path

from ..errors import UserError
from ..outside.parser import PlainParser


def main(arguments: list[str]) -> None:
    """Parse, ask, time two steps, and print.

    Raises:
        UserError: for settings that cannot be profiled, or a file that cannot be written.
    """
    request, rest = read_request(arguments)
    check_out(request.out)
    from .profile_run import make_profile

    make_profile(rest, request.rollouts, request.questions, request.out)


def read_request(arguments: list[str]) -> tuple[Namespace, list[str]]:
    """Split the arguments into the profile's own options and those of ``fit``.

    Returns:
        ``rollouts``, ``questions`` (None for all) and ``out``; and the others.

    Raises:
        UserError: for a number that is not positive.
    """
    parser = PlainParser(
        prog="fgexpo profile",
        allow_abbrev=False,
        description="Ask the model the questions of data.train before any training, time two "
        "steps, and write the pass-rates that data.warm_start takes. Takes all options of `fit`.",
    )
    parser.add_argument("--rollouts", type=int, default=8, help="of each question; default 8")
    parser.add_argument(
        "--questions", type=int, help="how many to ask, drawn evenly by the seed; default all"
    )
    parser.add_argument(
        "--out", default="pass_rates.json", help="file to write; default pass_rates.json"
    )
    own, rest = parser.parse_known_args(arguments)
    for name in ("rollouts", "questions"):
        value = getattr(own, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
    return own, rest


def check_out(out: str) -> None:
    """Check, before any work, that the pass-rates can be written and replace nothing else.

    Raises:
        UserError: naming the flag.
    """
    path = Path(out)
    if path.suffix != ".json":
        raise UserError(f"--out: expected a .json file, got {out!r}")
    if path.is_dir():
        raise UserError(f"--out: {out!r} is a folder, and a file is to be written there")
    above = next(folder for folder in Path(os.path.abspath(out)).parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"--out: {out!r} cannot be written: {str(above)!r} is a file")
    if not os.access(above, os.W_OK):
        raise UserError(f"--out: {out!r} cannot be written: no permission in {str(above)!r}")
    if path.exists():
        from ..evaluation.warm_start import read_pass_rates

        try:
            read_pass_rates(out)
        except UserError as error:
            raise UserError(
                f"--out: {out!r} exists and holds no pass-rates; choose another file"
            ) from error
