"""Is an answer a formula of the question, handed back as it was asked?"""

import re
from functools import lru_cache
from math import gcd

from .lists import inside, items
from .normalise import as_number, normalise

MAX_QUESTION = 100_000  # characters
_LAYOUT = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|q?quad|limits)(?![A-Za-z])|\\[,;:!> ]|[\s${}]|~"
)
_SLASH = re.compile(r"(?<![\w)])(\w+)/(\w+)(?![\w(^])")
_FRACTION = re.compile(r"\\[dtc]?frac|\\(?=[dt]binom)")
_INTEGER = re.compile(r"-?[\d.,]+")  # nearly all answers: spares them the rest
_NAMED = re.compile(r"[A-Za-z](?:_\w)?(?:\([a-z]\))?=")
_RATIO = re.compile(r"-?(?:(\d+)/(\d+)|\\frac(?:\{(-?\d+)\}\{(\d+)\}|\s?(\d)\s?(\d)))")
_PADDING = re.compile(
    r"(?:[+-]0(?:\.0*)?|(?:\\cdot|\\times|\*)1|\^1)$|^(?:0\+|1(?:\\cdot|\\times|\*))"
)


def is_copied(question: str, gold: str, answer: str) -> bool:
    """Whether the answer is work that the question sets: one of its formulas, but no plain value.

    Never so for what is written as the gold answer is.
    """
    if _INTEGER.fullmatch(answer):
        return False
    text = normalise(answer)
    if len(question) > MAX_QUESTION or is_plain(text):
        return False
    # A fraction is a value, but not where the question asks for its decimals.
    if _in_lowest_terms(text) and as_number(normalise(gold)) is None:
        return False
    own = _core(answer)
    return len(own) > 1 and own != _core(gold) and own in _squeezed(question)


def is_plain(text: str) -> bool:
    """Whether a normal form is a number, or a list of numbers."""
    return all(as_number(part.removesuffix("%")) is not None for part in items(inside(text)))


def _in_lowest_terms(text: str) -> bool:
    found = _RATIO.fullmatch(text)
    if found is None:
        return False
    over, under = (int(part) for part in found.groups() if part is not None)
    return gcd(over, under) == 1 and under != 1


def _core(text: str) -> str:
    """What is left of a formula without brackets around it, a name before it, or zeros added."""
    text = _squeezed(normalise(text)).rstrip(".")
    previous = None
    while previous != text:
        previous = text
        text = _PADDING.sub("", _NAMED.sub("", text, count=1) if _NAMED.match(text) else text)
        if text[:1] == "(" and text[-1:] == ")" and "(" not in text[1:-1] and "," not in text:
            text = text[1:-1]
    return text


# Training asks a question several times at once.
@lru_cache(maxsize=2**12)
def _squeezed(text: str) -> str:
    text = _FRACTION.sub(lambda found: "\\frac" if "frac" in found.group() else "\\", text)
    return _LAYOUT.sub("", _SLASH.sub(r"\\frac{\1}{\2}", text))
