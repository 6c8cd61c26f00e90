"""Characters that stand for others: full-width forms, Chinese punctuation, mathematical signs."""

import re

_TABLE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {
    ord(one): other
    for one, other in {
        "\N{IDEOGRAPHIC SPACE}": " ",
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{THIN SPACE}": " ",
        "\N{ZERO WIDTH SPACE}": "",
        "\N{WORD JOINER}": "",
        "\N{ZERO WIDTH NO-BREAK SPACE}": "",
        "\N{IDEOGRAPHIC FULL STOP}": ".",
        "\N{IDEOGRAPHIC COMMA}": ",",
        "\N{LEFT BLACK LENTICULAR BRACKET}": "[",
        "\N{RIGHT BLACK LENTICULAR BRACKET}": "]",
        "\N{FULLWIDTH YEN SIGN}": "¥",
        "\N{EMPTY SET}": "\\emptyset ",
        "\N{MINUS SIGN}": "-",
        "\N{MULTIPLICATION SIGN}": "\\times ",
        "\N{DOT OPERATOR}": "\\cdot ",
        "\N{MIDDLE DOT}": "\\cdot ",
        "\N{GREEK SMALL LETTER PI}": "\\pi ",
        "\N{INFINITY}": "\\infty ",
        "\N{UNION}": "\\cup ",
        "\N{ELEMENT OF}": "\\in ",
        "\N{PLUS-MINUS SIGN}": "\\pm ",
        "\N{VULGAR FRACTION ONE HALF}": "\\frac{1}{2}",
        "\N{VULGAR FRACTION ONE QUARTER}": "\\frac{1}{4}",
        "\N{VULGAR FRACTION THREE QUARTERS}": "\\frac{3}{4}",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    }.items()
}
_ROOT = re.compile("√\\s?(\\d+|[a-z])")
_POWERS = {"²": "^2", "³": "^3"}
# In m² it is part of a unit.
_POWER = re.compile("(?<!m)[²³]")


def plain(text: str) -> str:
    """The same text in the characters that LaTeX and ASCII have for it."""
    if text.isascii():
        return text
    text = _POWER.sub(lambda found: _POWERS[found.group()], text.translate(_TABLE))
    return _ROOT.sub(r"\\sqrt{\1}", text)
