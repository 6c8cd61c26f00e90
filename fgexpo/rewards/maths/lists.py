"""Answers of several parts: how many there are, and whether their order counts."""

import re
from functools import lru_cache

from .normalise import as_number, normalise, unseparated, without_dollars

# Signs that an answer is more than a list of values.
_MORE = re.compile(
    r"[=<>;≤≥]|\b(?:and|or)\b|\\(?:pm|mp|cup|cap|lor|land|l?dots|cdots|leq?|geq?|in)(?![A-Za-z])"
)
_JOINING = re.compile(
    r"(?:\s|\\[,; ]|\\quad|,)*"
    r"(?:\\(?:text|mathrm|mbox)\s*\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)\b)"
    r"(?:\s|\\[,; ]|\\quad)*"
)
_OPEN, _CLOSE = "([{", ")]}"
# A single number may contain a thousands separator.
_ONE_NUMBER = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")


@lru_cache(maxsize=2**13)
def is_list(gold: str) -> bool:
    """Whether a gold answer names several things, as a list or as a set."""
    text = without_dollars(unseparated(gold).replace("\\$", "").strip())
    if "$" in text:
        return True
    if kind(text) in ("(", "["):
        return False
    return len(items(inside(text))) > 1 and not _ONE_NUMBER.fullmatch(text)


def items(text: str) -> list[str]:
    """The parts between commas outside all brackets."""
    parts, depth = [""], 0
    for character in text.replace("\\{", "(").replace("\\}", ")"):
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [re.sub(r"\s+", " ", part).strip() for part in parts]


def kind(text: str) -> str:
    """The bracket around the whole answer: ``(``, ``[`` or, for a set, ``{``; empty without one."""
    text = text.strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        return "{"
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]":
        return ""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0 and place < len(text) - 1:
            return ""
    return text[0]


def joined(text: str) -> str:
    """A list with commas where it has ``and`` or ``or``."""
    return _JOINING.sub(", ", text)


def spaced(text: str) -> str:
    """A bare list in a form that a parser reads: ``$100$,$200$`` is ``100, 200``, not a number."""
    return text if kind(text) else ", ".join(without_dollars(part) for part in items(text))


def parts_agree(gold: str, answer: str) -> tuple[str, str] | None:
    """Both answers with the same bracket, or None when they cannot be equal.

    A tuple is not a set. Where one side is a tuple and the other a bare list, the order counts;
    between bare lists it does not. Both must have as many different parts.
    """
    if _MORE.search(gold) or _MORE.search(answer):
        return gold, answer
    kinds = kind(gold), kind(answer)
    inner = items(inside(gold)), items(inside(answer))
    if max(map(len, inner)) < 2:
        return gold, answer
    different = [{part.replace(" ", "") for part in parts} for parts in inner]
    if len(different[0]) != len(different[1]) or set(kinds) == {"(", "{"}:
        return None
    if set(kinds) == {"(", ""}:
        return f"({', '.join(inner[0])})", f"({', '.join(inner[1])})"
    return gold, answer


def same_numbers(gold: str, answer: str) -> bool | None:
    """Compare bare lists of numbers as multisets."""
    if kind(gold) or kind(answer):
        return None
    values = [[as_number(normalise(part)) for part in items(text)] for text in (gold, answer)]
    if max(map(len, values)) < 2 or None in values[0] or None in values[1]:
        return None
    return sorted(map(str, values[0])) == sorted(map(str, values[1]))


def inside(text: str) -> str:
    """What is within the bracket around the whole answer, or the text itself."""
    text = text.strip()
    bracket = kind(text)
    if bracket == "{":
        return text[2:-2]
    # LaTeX does not print braces without a backslash.
    grouped = text.startswith("{") and text.endswith("}")
    return text[1:-1] if bracket or grouped else text
