"""Forms of answers that a parser mistakes for values: bases, bounds, equations."""

import re

from .normalise import as_number
from .units import says_more

_BASED = re.compile(r"([0-9A-Z]{1,40})_\{?(\d{1,2})\}?")
_IMPLICIT = re.compile(r"[^=]*\d\s?[A-Za-z][^=]*=\s?0")
_BOUND = re.compile(r"\\(?:leq?|geq?|neq?|neg|lnot|not|approx|sim)(?![A-Za-z])|[<>≤≥≠]")


def same_form(gold: str, answer: str) -> bool:
    r"""Whether both are bounds, as ``\le 8``, or neither is; no value equals ``2x - y = 0``.

    Nor is ``5\text{ million}`` equal to 5, although a parser reads it so.
    """
    if says_more(gold) != says_more(answer):
        return False
    if bool(_BOUND.match(gold)) != bool(_BOUND.match(answer)):
        return False
    for one, other in ((gold, answer), (answer, gold)):
        if _IMPLICIT.fullmatch(one) and "=" not in other:
            return False
    return True


def same_in_base(gold: str, answer: str) -> bool | None:
    """Compare numerals if at least one names its base, as ``40_9``; None if neither does.

    A gold answer in a base may be given without the base; otherwise a based answer counts by value.
    """
    given, asked = _BASED.fullmatch(answer), _BASED.fullmatch(gold)
    if given and asked:
        return given.groups() == asked.groups()
    if asked:
        return answer == asked.group(1) if as_number(answer) is not None else None
    if given is None:
        return None
    base, value = int(given.group(2)), as_number(gold)
    digits = [int(digit, 36) for digit in given.group(1)]
    if value is None or max(digits) >= base:
        return False
    return value == sum(digit * base**place for place, digit in enumerate(reversed(digits)))
