r"""Find the final answer: the last balanced box, or the last ``Answer:`` line."""

import re

_NAMES = ("\\boxed", "\\fbox")
# As TeX does, a box without braces takes what comes next; here only numbers and formulas count.
_BARE = (
    r"[-+]?\\?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?(?:\\?%)?"
    r"|\\(?!boxed|fbox|left|right|begin)[A-Za-z]{2,}(?:\s?\d|\s?\{[^{}]*\}){0,2}"
)
_TOKEN = re.compile(
    rf"(?P<open>\\(?:boxed|fbox)\s*\{{)|\\(?:boxed|fbox)(?:\s+|(?=\\))(?P<bare>{_BARE})|\\.|[{{}}]",
    re.DOTALL,
)
_LINE = re.compile(
    r"^[ \t>#*_]*(?:final[ \t]+)?answer[ \t*_]*:[ \t*_]*(\S.*)$", re.IGNORECASE | re.M
)
# Text allowed between boxes that are parts of one answer.
_WRAPPING = re.compile(
    r"\\text\s*\{([^{}]*)\}|\\q?quad|\\[()\[\],;!]|\$|\bfor part \([a-z]\)|[A-Za-z]\w*\s*="
)
_CONNECTIVE = re.compile(r"[\s,;]*(?:and|or|,|;)[\s,;]*")


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last balanced ``\boxed{...}`` or ``\fbox{...}``, or None.

    ``\boxed 5`` is a box too. The box that opens last counts, so the inner one of nested boxes.
    Escaped braces do not count. An unclosed box is no answer, so an earlier closed one is used.
    Takes linear time for any text.
    """
    # The last box is nearly always closed, and then nothing before it matters.
    start = max(text.rfind(name) for name in _NAMES)
    if start < 0:
        return None
    if not _escaped(text, start):
        boxes = boxed(text[start:])
        if boxes and boxes[-1][0] == 0:
            return text[start:][boxes[-1][1] : boxes[-1][2]].strip()
    boxes = boxed(text)
    return text[boxes[-1][1] : boxes[-1][2]].strip() if boxes else None


def boxed(text: str) -> list[tuple[int, int, int]]:
    r"""Every balanced box in order of opening: its start, its content's, its end."""
    opened: list[tuple[int, int] | None] = []  # None for a plain brace
    found: list[tuple[int, int, int]] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match["bare"]:
            found.append((match.start(), *match.span("bare")))
        elif match["open"]:
            opened.append(match.span())
        elif token == "{":
            opened.append(None)
        elif token == "}" and opened:
            box = opened.pop()
            if box is not None:
                found.append((*box, match.start()))
    return sorted(found)


def joined_boxes(text: str) -> str | None:
    r"""The last run of boxes separated only by connectives, as one list; None for a single box.

    ``\boxed{1} and \boxed{2}`` is ``1, 2``. Only for golds that are lists: else the last counts.
    """
    parts: list[str] = []
    later = len(text)
    for start, content, end in reversed(boxed(text)):
        if parts and not _connects(text[end:later].removeprefix("}")):
            break
        parts.insert(0, text[content:end].strip())
        later = start
    return ", ".join(parts) if len(parts) > 1 else None


def answer_line(text: str) -> str | None:
    r"""The answer on the last line of the form ``Answer: ...``, without a box around it; or None.

    Markdown emphasis around it and a final full stop do not count.
    """
    lines = _LINE.findall(text)
    if not lines:
        return None
    answer = lines[-1]
    return last_boxed(answer) or answer.strip().strip("*_").strip()


def _escaped(text: str, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _connects(between: str) -> bool:
    if len(between) > 80:
        return False
    return bool(_CONNECTIVE.fullmatch(_WRAPPING.sub(r" \1 ", _WRAPPING.sub(r" \1 ", between))))
