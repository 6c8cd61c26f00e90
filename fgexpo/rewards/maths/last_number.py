"""Read the last number of a completion, for models that write no box and no answer line."""

import re

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
_POWER = r"\^(?:\{[+-]?[0-9]+\}|[+-]?[0-9]+)"
_NUMBER = re.compile(
    # A minus belongs to a number unless something to subtract from stands directly before it.
    r"(?:(?<![\w)}\]%.])[-\N{MINUS SIGN}\N{EN DASH}+](?=[$\\.0-9]))?"
    # Digits within a name (x1, H2O), an index or another number are none of their own.
    r"(?:\\?\$)?(?<![A-Za-z_^0-9.])(?<![A-Za-z0-9_^][{])"
    rf"(?:(?:[0-9]+[ ])?[0-9]+/[0-9]+"
    r"|(?:[0-9]+\s?)?\\[dtc]?frac\s?\{[+-]?[0-9]+\}\s?\{[0-9]+\}"
    rf"|{_DECIMAL}(?:[eE][+-]?[0-9]+(?![\w.])|\s?(?:\\times|\\cdot|[x*\u00d7\u00b7])\s?10{_POWER}|{_POWER})?)"
    r"(?:\s?\\?%)?"
)
_TIMES = re.compile(r"\s?(?:x|\*|\u00d7|\u00b7)\s?(?=10\^)")
LINE = 1000  # characters of the last line with a digit that are looked at, on both sides


def last_number(text: str) -> str | None:
    r"""The last number, as LaTeX; None if there is none.

    Integers, decimals, thousands separators, signs, fractions ``a/b`` and ``\frac{a}{b}``, mixed
    numbers, scientific notation and percents. A full stop or a currency sign at its side is not
    part of it. Of a time or a date it is the last part.
    """
    end = len(text)
    while (digit := max(text.rfind(one, 0, end) for one in "0123456789")) >= 0:
        start = text.rfind("\n", 0, digit) + 1
        line = text[max(start, digit - LINE) : digit + LINE].partition("\n")[0]
        found = [match.group() for match in _NUMBER.finditer(line)]
        if found:
            number = found[-1].replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")
            return _TIMES.sub(r"\\times ", number.replace("\\$", "").replace("$", ""))
        end = start
    return None
