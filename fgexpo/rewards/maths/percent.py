r"""A percent counts once: for any gold answer, at most one number before ``\%`` is right."""

import re
from fractions import Fraction

from .normalise import as_number

_SIGN = re.compile(r"\s?%$")
_RATIO = re.compile(
    r"([+-]?)(\d{1,40})?"
    r"(?:\\frac ?\{(\d{1,40})\}\{(\d{1,40})\}|\\frac ?(\d) ?(\d)|(?<!\d)(\d{1,40})/(\d{1,40}))"
)


def readings(gold: str, answer: str) -> list[tuple[str, str]]:
    r"""What to compare once the signs are gone; the answer is right if any of the pairs is equal.

    The gold answer's form decides. ``28\%`` is ``28\%``, 28 with its unit left out, or the same
    value, 0.28. A gold answer below 1 is a share, so ``28\%`` means 0.28 there; elsewhere it means
    28.
    """
    golden, given = bool(_SIGN.search(gold)), bool(_SIGN.search(answer))
    bare = _SIGN.sub("", gold), _SIGN.sub("", answer)
    if golden and not given:
        value = ratio(bare[0])
        share = [] if value is None else [(str(value / 100), bare[1])]
        return [bare, *share]
    if given and not golden:
        value, percent = ratio(bare[0]), ratio(bare[1])
        if value is not None and percent is not None and 0 < abs(value) < 1:
            return [(bare[0], str(percent / 100))]
    return [bare]


def ratio(text: str) -> Fraction | None:
    """The exact value of a number, a fraction or a mixed number; None for anything else."""
    number = as_number(text)
    if number is not None:
        return number
    match = _RATIO.fullmatch(text.strip())
    if match is None:
        return None
    sign, whole, *parts = match.groups()
    over, under = (int(part) for part in parts if part is not None)
    if under == 0:
        return None
    value = int(whole or 0) + Fraction(over, under)
    return -value if sign == "-" else value
