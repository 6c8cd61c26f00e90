"""Words in an answer: prose is no answer, and a word is right only as that word."""

import re

from .closed_form import is_value

_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[a-z]+\*?\}(?:\s*\{[clr|]+\})?|\\[A-Za-z]+|[\\{}~]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_JOINING = {"or", "and"}
_SAID = re.compile(r"\\(?:text|textrm|textbf|mathrm|mbox|rm)(?![A-Za-z])")
_ONE_WORD = re.compile(r"[^\W\d_][^\W\d_'\u2019 -]+")
LETTERS = 4  # from which on letters side by side are a word, not a product


def words(text: str) -> set[str]:
    """The words of two letters or more, without LaTeX's commands."""
    return {found.lower() for found in _WORD.findall(_COMMAND.sub(" ", text))} - _JOINING


def is_prose(gold: str, answer: str) -> bool:
    """Whether the answer says something in words that the gold answer does not say; normal forms.

    Where a value is asked for, any word is prose; elsewhere two, since ``xyz`` is a product.
    """
    more = words(answer) - words(gold)
    if not more:
        return False
    return is_value(gold) or sum(len(word) > 2 for word in more) > 1


def as_word(gold: str, normal: str) -> str | None:
    """A gold answer that is a word or a name, for comparison as it stands; else None."""
    bare = " ".join(normal.split()).lower()
    if not _ONE_WORD.fullmatch(bare):
        return None
    return bare if _SAID.search(gold) or len(bare.replace(" ", "")) >= LETTERS else None
