r"""Find the final answer in a completion: the content of the last balanced ``\boxed{}``."""

import re

_TOKEN = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last balanced ``\boxed{...}``, or None.

    The last to open counts, so of nested boxes the inner one. Escaped braces do not count. An
    unclosed box is no answer, so an earlier, closed one is used. One pass, whatever the text.
    """
    open_braces: list[int | None] = []  # where a box's content begins; None for a plain brace
    last: tuple[int, int] | None = None
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.startswith("\\boxed"):
            open_braces.append(match.end())
        elif token == "{":
            open_braces.append(None)
        elif token == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and (last is None or start > last[0]):
                last = (start, match.start())
    return None if last is None else text[last[0] : last[1]].strip()
