r"""Answers with an ellipsis, ``1, 2, \ldots, n``: what is written out must agree, part by part."""

import re

from .lists import inside, items

_ELLIPSIS = re.compile(r"\\(?:[lc]?dots[a-z]?)(?![A-Za-z])|\.{3}|…|⋯")
LEAST = 2  # parts before the ellipsis from which its rule is seen


def has_ellipsis(text: str) -> bool:
    """Whether something is left out."""
    return bool(_ELLIPSIS.search(text))


def paired(gold: str, answer: str) -> list[tuple[str, str]] | None:
    r"""The parts that must be equal for two sequences to be; None when they cannot be.

    Both start alike, for two parts at least, and end alike; one may write out more than the other.
    So ``1,3,5,\ldots,2n-1`` is not ``1,2,\ldots,n``, but ``1,2,3,\ldots,n`` is.
    """
    halves = [_halves(text) for text in (gold, answer)]
    if None in halves:
        return None
    (start, end), (other_start, other_end) = halves[0] or ([], []), halves[1] or ([], [])
    least = min(len(start), len(other_start))
    if least < LEAST and len(start) != len(other_start):
        return None
    if bool(end) != bool(other_end):
        return None
    heads = zip(start, other_start, strict=False)
    return [*heads, *zip(reversed(end), reversed(other_end), strict=False)]


def _halves(text: str) -> tuple[list[str], list[str]] | None:
    """The parts before and after the only ellipsis; None if it is not a part of a list."""
    parts = items(inside(text))
    dots = [place for place, part in enumerate(parts) if _ELLIPSIS.search(part)]
    if len(dots) != 1 or _ELLIPSIS.sub("", parts[dots[0]]).strip():
        return None
    return parts[: dots[0]], parts[dots[0] + 1 :]
