"""Where a setting that a sentence complains of was written."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..catalogue.nodes import find_line
from ..catalogue.shipped import find_configs
from .typos import HELP, flag_pairs

# Whose line says nothing.
WHOLE = ("model", "data", "trainer")
_SETTING = re.compile(r"[a-z_]+(\.[\w@/-]+|\[\d+\])*")


def located(sentence: str, arguments: Sequence[str]) -> str:
    """A sentence with file and line, if it begins with a setting that a configuration has.

    A flag overrides every file, and the last file those before it.

    Args:
        sentence: what is wrong.
        arguments: of the command.
    """
    found = _SETTING.match(sentence)
    if found is None or found[0] in WHOLE:
        return sentence
    setting, place = found[0], None
    for option, value in flag_pairs(find_configs(arguments), HELP):
        name = option.lstrip("-").rstrip("+")
        if name in ("config", "c") and value and Path(value).is_file():
            line = find_line(value, setting)
            place = place if line is None else f"{value}:{line}: "
        elif setting == name or setting.startswith(f"{name}."):
            place = None
    return f"{place or ''}{sentence}"
