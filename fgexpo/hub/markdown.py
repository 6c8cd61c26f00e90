"""Text from users in Markdown: what they wrote is shown, and nothing of it is markup."""

import re
from collections.abc import Mapping, Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+.!|<>~&$-])")
# These are markup only where a list or a heading could begin.
_HARMLESS = re.compile(r"(?<=\w)\\([.+-])(?=\w)")


def text(words: str) -> str:
    """A text on one line, with every character of it as it is."""
    return _HARMLESS.sub(r"\1", _MARKUP.sub(r"\\\1", _one_line(words)))


def code(words: str) -> str:
    """A text in code letters, on one line; it may stand in a table."""
    line = _one_line(words).replace("|", "\\|")
    fence = "`" * (_longest_run(line) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def block(language: str, words: str) -> str:
    """Lines of code."""
    fence = "`" * max(3, _longest_run(words) + 1)
    return f"{fence}{language}\n{words}\n{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def settings(values: Mapping[str, str]) -> str:
    """Two columns: a name of ours, and what a user gave for it."""
    return table(("", ""), [(name, code(value)) for name, value in values.items()])


def _one_line(words: str) -> str:
    # Half a character cannot be written to a file.
    whole = words.encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in whole).split())


def _longest_run(words: str) -> int:
    return max((len(run) for run in re.findall("`+", words)), default=0)
