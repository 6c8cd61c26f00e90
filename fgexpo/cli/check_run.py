"""Finds what ``fit`` would reject in a command line, without a model and without a folder."""

import json
from typing import Any

import yaml

from ..outside import in_one_sentence
from ..study.checks import RESULT
from .fit import FGExpoCLI
from .imports import restrict_imports
from .typos import find_faults


class _CheckOnly(FGExpoCLI):
    """Parses the configuration, and makes the classes that need no weights."""

    def before_instantiate_classes(self) -> None:
        self.check_settings(self.config[str(self.subcommand)])
        self._check_without_model()

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def check_run(arguments: list[str]) -> int:
    """Print, on a line of its own, the configuration of a command line of ``fit``, or its faults.

    Args:
        arguments: beginning with ``fit``.

    Returns:
        0; what it found is in the line.
    """
    restrict_imports()
    found: dict[str, Any] = {"faults": find_faults(arguments[1:])}
    if not found["faults"]:
        try:
            cli = _CheckOnly(arguments)
            text = cli.parser.dump(cli.config, skip_none=False)
            found = {"config": yaml.safe_load(text)["fit"]}
        except Exception as error:
            told = in_one_sentence(error)
            if told is None:
                raise
            found = {"faults": [told[0]]}
    print(f"\n{RESULT}{json.dumps(found, default=str)}", flush=True)
    return 0
