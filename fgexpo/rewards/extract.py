r"""Find the final answer in a completion: the content of the last balanced ``\boxed{}``."""

import re

_BOX = re.compile(r"\\boxed\s*\{")


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last balanced ``\boxed{...}``, or None.

    Escaped braces do not count. An unclosed box is no answer, so an earlier, closed one is used.
    """
    for match in reversed(list(_BOX.finditer(text))):
        end = _closing_brace(text, match.end())
        if end is not None:
            return text[match.end() : end].strip()
    return None


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return position
        position += 1
    return None
