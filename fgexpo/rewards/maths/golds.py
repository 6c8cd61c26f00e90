r"""Can anything be graded against this gold answer? Looked at once, when the questions are read."""

import re

from .guards import MAX_CHARACTERS, is_hostile
from .lists import is_list
from .normalise import key

_PLAIN = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?")
_DIGIT = re.compile(r"\d")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
REASONS = {
    "length": f"it has more than {MAX_CHARACTERS} characters",
    "nesting": "its brackets are nested too deeply",
    "digits": "it has a number of too many digits",
    "exponent": "it has a power that cannot be computed",
    "factorial": "it has a factorial that cannot be computed",
}


def why_ungradable(gold: str) -> str | None:
    """Why no answer could ever be compared with this gold answer; None if one can.

    Takes microseconds and evaluates nothing, so half a million gold answers take seconds.
    """
    if _PLAIN.fullmatch(gold):
        return None
    hostile = is_hostile(gold)
    if hostile is not None:
        return REASONS[hostile]
    if not _DIGIT.search(gold) and not key(gold, not is_list(gold)).strip(".,;:$\\{}()[] "):
        return "nothing of it is left without layout"
    return None if _balanced(gold) else "its braces are not balanced"


def _balanced(text: str) -> bool:
    depth = 0
    for token in _BRACE.findall(text):
        depth += (token == "{") - (token == "}")
        if depth < 0:
            return False
    return depth == 0
