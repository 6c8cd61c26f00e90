"""Turn away answers that no gold answer looks like and whose evaluation would not end."""

import re

MAX_CHARACTERS = 1000
MAX_NESTING = 40
MAX_DIGITS = 400
MAX_EXPONENT = 100_000
MAX_FACTORIAL = 10_000

_DIGITS = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")
# Of text without spaces.
_EXPONENT = re.compile(r"(?:\^|\*\*)[{(]*[+-]?(\d[\d,]*)")
_TOWER = re.compile(r"\d(?:\^|\*\*)[{(]*\d+(?:\^|\*\*)[{(]*\d+(?:\^|\*\*)")
_FACTORIAL = re.compile(r"(?<!\d)(\d+)!")
_NESTED_FACTORIAL = re.compile(r"[!^][^!+\-,;]{0,20}\)!|!\)*+!")


def is_hostile(answer: str) -> str | None:
    """Why this answer is not worth a parser's time; None if it is.

    Only what cannot be cheap is turned away; the workers' deadline is for the rest.
    """
    if len(answer) > MAX_CHARACTERS:
        return "length"
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
