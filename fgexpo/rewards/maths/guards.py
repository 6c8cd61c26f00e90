"""Reject answers that look like no gold answer and whose evaluation would not end."""

import re
from functools import lru_cache

MAX_CHARACTERS = 1000
MAX_NESTING = 40
MAX_DIGITS = 400
MAX_EXPONENT = 100_000
MAX_FACTORIAL = 10_000

_DIGITS = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")
# Applied to text without spaces.
_EXPONENT = re.compile(r"(?:\^|\*\*)[{(]*[+-]?(\d[\d,]*)")
_TOWER = re.compile(r"\d(?:\^|\*\*)[{(]*\d+(?:\^|\*\*)[{(]*\d+(?:\^|\*\*)")
_FACTORIAL = re.compile(r"(?<!\d)(\d+)!")
_NESTED_FACTORIAL = re.compile(r"[!^][^!+\-,;]{0,20}\)!|!\)*+!")


def is_hostile(answer: str) -> str | None:
    """Why this answer is too costly for a parser; None if it is not.

    Only answers that are certain to be costly are rejected; the workers' deadline handles the rest.
    """
    return "length" if len(answer) > MAX_CHARACTERS else _is_hostile(answer)


@lru_cache(maxsize=2**13)
def _is_hostile(answer: str) -> str | None:
    answer = re.sub(r"\s+", "", answer)
    if _nesting(answer) > MAX_NESTING:
        return "nesting"
    if _DIGITS.search(answer):
        return "digits"
    exponents = (int(found.replace(",", "")) for found in _EXPONENT.findall(answer))
    if _TOWER.search(answer) or any(exponent > MAX_EXPONENT for exponent in exponents):
        return "exponent"
    factorials = (int(found) for found in _FACTORIAL.findall(answer))
    if _NESTED_FACTORIAL.search(answer) or any(n > MAX_FACTORIAL for n in factorials):
        return "factorial"
    return None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest
