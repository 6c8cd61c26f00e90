r"""Write an answer in one canonical way, so that most right answers are equal as strings.

The conventions are the benchmarks': ``$``, ``\left``, a unit in ``\text{}``, a degree sign, a
currency sign, thousands separators and words around the answer do not count.
"""

import re
from fractions import Fraction
from functools import lru_cache

from .characters import plain
from .guards import MAX_CHARACTERS
from .units import split_unit

_SPACES = re.compile(r"(?:\\[,;:!> ]|\\q?quad\b|~|\s)+")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle)(?![A-Za-z])")
_FRACTIONS = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|°|\\degrees?(?![A-Za-z])")
_WHOLE = re.compile(
    r"(?:\\(?:text|textrm|textbf|mathrm|mathbf|mbox|rm|underline|bm|boldsymbol)"
    r"|\\(?:text)?color\s*\{\w+\})\s*\{([^{}]*)\}|\*\*(.+)\*\*"
)
_UPRIGHT = re.compile(r"\\(?:text|mathrm|rm)\s*\{\s*([eid])\s*\}")
_MODULUS = re.compile(r"\s*\\pmod\s*\{[^{}]*\}$")
# Words that introduce an answer, unless they turn it into another one.
_PROSE = re.compile(
    r"(?:(?:[A-Za-z0-9',:()\n ]|\$\w\$)*\b)?"
    r"(?:is|it's|are|answer|result|solution)\b\s*:?\s*(?=\S)",
    re.IGNORECASE,
)
# Words around a single formula; the formula is then the answer.
_WORDED = re.compile(r"([A-Za-z',:.\n ]*)\$+([^$]+)\$+([A-Za-z',.\n ]*)")
_SAID = re.compile(r"^\\(?:text|textrm|mathrm|mbox)\s*\{([^{}]* |[^{}\x00-\x7f]+)\}(?=.)")
# The same in Chinese: 答案是, 结果为, 所以:
_HAN_PROSE = re.compile(r"(?:(?![不非没无负约于多少])[\u4e00-\u9fff])*(?:是|为|等于|[:,])\s*(?=\S)")
_CURRENCY = re.compile(r"[€£¥] ?(?=[\d.])")
_TURNED = re.compile(
    r"(?:not|minus|negative|than|most|least|about|or|except|between|from|to|nor|without|wrong)\s*",
    re.IGNORECASE,
)
_SCIENTIFIC = re.compile(r"(?<![\w.\\])(\d++(?:\.\d*+)?|\.\d++)[eE]([+-]?\d{1,3})(?![\w.])")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_SEPARATOR = re.compile(r"(?<=\d)(?:\{,\}|,\\! ?)(?=\d{3}(?!\d))")
_SPACED_DIGITS = re.compile(r"(?<=\d)(?:\\,| )(?=\d{3}(?!\d))")
_DECIMAL_COMMA = re.compile(r"-?0,\d+")
_BARE_FRACTION = re.compile(r"\\frac ?\d")
_APART = re.compile(r"(?<=\d)(?:\\ |\\,|\\q?quad|~| )+(?=\d)")
_MIXED = re.compile(r"(-?\d+) (\d+)/(\d+)")
_NUMBER = re.compile(
    r"([+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40}))"
    r"(?:\s?(?:\\times|\\cdot)\s?10\s?\^\s?(?:\{\s?([+-]?\d{1,3})\s?\}|(\d)))?"
)
# From strings that were escaped twice; in a matrix it would be the end of a row.
_ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z]{2})")
_PERCENT = re.compile(
    r"(?<=[\d})$])(?: |~|\\ |\\,)*(?:\\(?:text|textrm|mathrm|mbox)\s*\{\s*)?"
    r"(?:%|(?:percent|per ?cent|pct)(?:age)?\b\.?)\s*(?:(?<=[%a-z. ])\})?$",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\(([A-Za-z])\)")


def normalise(answer: str, thousands: bool = True) -> str:
    """Rewrite an answer without changing its meaning; the result is still LaTeX for a parser.

    Args:
        answer: without its box.
        thousands: whether ``100,200`` may be one number.
    """
    return split(answer, thousands)[0]


# One pair needs it several times, and gold answers and guesses repeat.
@lru_cache(maxsize=2**14)
def split(answer: str, thousands: bool = True) -> tuple[str, str]:
    """The same, and the unit that followed it."""
    text = plain(answer).replace("\\$", "").replace("\\%", "%")
    if "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _PERCENT.sub("%", re.sub(r"\s+", " ", text).strip())
    text = _without_words(text)
    text = re.sub("^\N{EN DASH}|\N{MINUS SIGN}", "-", _CURRENCY.sub("", text, count=1))
    text = text.replace("\\varnothing", "\\emptyset")
    text = _FRACTIONS.sub(r"\\frac", _SIZES.sub("", _DEGREES.sub("", text)))
    text = _UPRIGHT.sub(r"\1", text)
    text = _MODULUS.sub("", text.rstrip(".,;\\ "))
    whole = _WHOLE.fullmatch(text.strip())
    if whole:
        text = whole.group(1) or whole.group(2) or ""
    text, unit = split_unit(text.strip())
    text = _SCIENTIFIC.sub(r"\1\\times10^{\2}", text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text) if _MIXED.fullmatch(text) else text
    text = unseparated(text)
    if thousands:
        text = _SPACED_DIGITS.sub("", text)
        text = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    choice = _CHOICE.fullmatch(text)
    if choice:
        text = choice.group(1)
    elif _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    elif not _BARE_FRACTION.search(text):
        text = _APART.sub(", ", text)  # two numbers side by side are two answers
    return text, unit


def key(answer: str, thousands: bool = True) -> str:
    """The normal form without spaces, for voting: nearly always the same for equal answers."""
    if len(answer) > MAX_CHARACTERS:
        return answer
    text = normalise(answer, thousands)
    number = as_number(text)
    return _SPACES.sub("", text) if number is None else str(number)


@lru_cache(maxsize=2**14)
def as_number(text: str) -> Fraction | None:
    r"""The exact value of an integer, a decimal or ``a \times 10^{b}``; None for anything else."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    mantissa, braced, bare = match.groups()
    if not (braced or bare):
        return Fraction(mantissa)
    return Fraction(mantissa) * Fraction(10) ** int(braced or bare)


def unseparated(text: str) -> str:
    r"""Join digits separated by ``{,}`` or ``,\!``, which are thousands separators, not commas."""
    return _SEPARATOR.sub("", text)


def without_dollars(text: str) -> str:
    r"""Remove ``$``, ``$$``, ``\(`` or ``\[`` around the whole text."""
    for mark in ("$$", "$"):
        if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark) - 1:
            inner = text[len(mark) : -len(mark)]
            if "$" not in inner:
                return inner.strip()
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing):
            return text[2:-2].strip()
    return text


def _without_words(text: str) -> str:
    text = without_dollars(text)
    if text.count("$") == 1:
        text = text.replace("$", "")
    text = _SAID.sub(r"\1", text)
    chinese = None if text.isascii() else _HAN_PROSE.match(text)
    if chinese:
        text = without_dollars(text[chinese.end() :])
    introduced = _PROSE.match(text)
    if introduced:
        rest = text[introduced.end() :]
        text = text if _TURNED.match(rest) else without_dollars(rest.strip())
    worded = _WORDED.fullmatch(text)
    if worded is None:
        return text
    before, formula, after = worded.groups()
    turned = any(_TURNED.fullmatch(word) for word in before.split()[-1:] + after.split())
    # Without the dollars, a parser would not see that the formula is the whole answer.
    return text.replace("$", "") if turned else formula.strip()
