r"""Units after a number, which count only if both sides name different ones."""

import re

_TEXT = r"\\(?:text|textrm|textnormal|textbf|mathrm|mbox|rm)\s*\{\s*~?\s*([^{}]*?)\s*\}"
_POWER = r"(?:\s*\^\s*(\d|\{\d\}))?"
_AFTER = r"(?:(?<=[\d})])|(?<=\\pi))"
_SPACE = r"(?:\s|~|\\[,;:! ])*"
_IN_TEXT = re.compile(_AFTER + _SPACE + _TEXT + _POWER + "$")
_BARE = re.compile(_AFTER + r" ([a-z]{2,}\.?(?: [a-z]{2,}){0,3})" + _POWER + "$")
_RATE = re.compile(r"(?<=\d)" + _SPACE + r"([A-Za-z]{1,7}/[a-z]{1,7})" + _POWER + "$")
_HAN = re.compile(r"(?<=[\d})]) ?([\u4e00-\u9fff]{1,8}[²³]?)$")
_SYMBOL = re.compile(r"(?<=\d) ?([€£¥]|[cdkm]?m[²³])$")

# Words after a number that are part of its value.
_SAYS_MORE = re.compile(
    r"\b(?:hundred|thousand|[mb]illion|trillion|dozen|score|hal(?:f|ves)|thirds?|quarters?"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|squared|cubed|factorial|pi|plus|minus|times"
    r"|over|or|and|to|not|is|are|wrong|more|less|most|least|than|if|mod|percent|[eixynkp])\b"
    r"|千(?![米克瓦])|[一二三四五六七八九两十百万亿兆半多余几或至到不非负和与错]|分之|以[上下内外]|左右|[折成]$",
    re.IGNORECASE,
)
_SAME = (
    "mm millimeter millimetre 毫米",
    "cm centimeter centimetre 厘米",
    "m meter metre 米",
    "km kilometer kilometre 千米 公里",
    "in inch inche",
    "ft foot feet",
    "mi mile",
    "g gram 克",
    "kg kilogram 千克 公斤",
    "s sec second 秒",
    "min minute 分钟",
    "h hr hour 小时",
    "day 天 日",
    "week 周 星期",
    "month 月 个月",
    "year 年",
    "cent",
    "dollar",
    "yuan 元 块",
    "jiao 角",
    "cm2 平方厘米",
    "m2 平方米",
    "cm3 立方厘米",
    "m3 立方米",
    "degree 度",
    "radian",
)
_NAMES = {name: line.split()[0] for line in _SAME for name in line.split()}
# Letters right after a number are a product of variables unless they are a unit's whole name.
_GLUED = re.compile(
    rf"(?<=\d)({'|'.join(name for name in _NAMES if name.isascii() and len(name) > 1)})s?{_POWER}$"
)
_PATTERNS = (_IN_TEXT, _BARE, _SYMBOL, _HAN, _RATE, _GLUED)


def split_unit(text: str) -> tuple[str, str]:
    """Split into a number and its unit, or the text and an empty unit.

    Words that are part of the value (``million``, ``or six``, an imaginary ``i``) are not units.
    """
    for pattern in _PATTERNS:
        found = pattern.search(text)
        if found and not _SAYS_MORE.search(found.group(1)):
            return text[: found.start()].strip(), "".join(filter(None, found.groups()))
    return text, ""


def says_more(text: str) -> bool:
    """Whether words after a number are part of its value, as in ``5 million``."""
    found = [pattern.search(text) for pattern in (_IN_TEXT, _BARE, _HAN)]
    return any(match and _SAYS_MORE.search(match.group(1)) for match in found)


def differ(one: str, two: str) -> bool:
    """Whether both are known units, and different ones."""
    names = [_canonical(unit) for unit in (one, two)]
    return None not in names and names[0] != names[1]


def _canonical(unit: str) -> str | None:
    unit = unit.strip().lower()
    if unit in _NAMES:
        return _NAMES[unit]
    match = re.fullmatch(r"([a-z]+?)s?\.?\{?(\d?)\}?", unit)
    if match is None or match.group(1) not in _NAMES:
        return None
    return _NAMES[match.group(1)] + match.group(2)
