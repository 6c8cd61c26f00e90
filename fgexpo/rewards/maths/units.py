r"""Units after a number, which count only if both sides name different ones."""

import re

_TEXT = r"\\(?:text|textrm|textbf|mathrm|mbox|rm)\s*\{\s*~?\s*([^{}]*?)\s*\}"
_POWER = r"(?:\s*\^\s*(\d|\{\d\}))?"
_IN_TEXT = re.compile(r"(?<=[\d})])\s*" + _TEXT + _POWER + "$")
_BARE = re.compile(r"(?<=\d) ([a-z]{2,}\.?(?: [a-z]{2,}){0,3})" + _POWER + "$")
_SYMBOL = re.compile(r"(?<=\d) ?([€£¥]|[cdkm]?m[²³])$")

# Words after a number that are part of its value.
_SAYS_MORE = re.compile(
    r"\b(?:hundred|thousand|[mb]illion|trillion|dozen|score|hal(?:f|ves)|thirds?|quarters?"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|squared|cubed|factorial|pi|plus|minus|times"
    r"|over|or|and|to|not|is|are|wrong|more|less|most|least|than|if|mod|percent|[eixynkp])\b",
    re.IGNORECASE,
)
_SAME = (
    "mm millimeter millimetre",
    "cm centimeter centimetre",
    "m meter metre",
    "km kilometer kilometre",
    "in inch inche",
    "ft foot feet",
    "mi mile",
    "g gram",
    "kg kilogram",
    "s sec second",
    "min minute",
    "h hr hour",
    "day",
    "week",
    "month",
    "year",
    "cent",
    "dollar",
    "degree",
    "radian",
)
_NAMES = {name: line.split()[0] for line in _SAME for name in line.split()}


def split_unit(text: str) -> tuple[str, str]:
    """Split into a number and its unit, or the text and an empty unit.

    Words that are part of the value (``million``, ``or six``, an imaginary ``i``) are not units.
    """
    for pattern in (_IN_TEXT, _BARE, _SYMBOL):
        found = pattern.search(text)
        if found and not _SAYS_MORE.search(found.group(1)):
            return text[: found.start()].strip(), "".join(filter(None, found.groups()))
    return text, ""


def says_more(text: str) -> bool:
    """Whether words after a number are part of its value, as in ``5 million``."""
    found = [pattern.search(text) for pattern in (_IN_TEXT, _BARE)]
    return any(match and _SAYS_MORE.search(match.group(1)) for match in found)


def differ(one: str, two: str) -> bool:
    """Whether both are known units, and different ones."""
    names = [_canonical(unit) for unit in (one, two)]
    return None not in names and names[0] != names[1]


def _canonical(unit: str) -> str | None:
    match = re.fullmatch(r"([a-z]+?)s?\.?\{?(\d?)\}?", unit.strip().lower())
    if match is None or match.group(1) not in _NAMES:
        return None
    return _NAMES[match.group(1)] + match.group(2)
