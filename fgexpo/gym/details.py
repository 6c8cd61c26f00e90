"""What the scorer of a question needs beside its gold answer, as the text ``Question.details``.

It is a recipe: the scorer's process makes the question again, as its source made it. So nothing of
Python's own formats travels, and the text stays short.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..seeding import hash_seed

_KIND = "reasoning_gym"


@dataclass(frozen=True)
class Recipe:
    """How a question is made.

    Attributes:
        name: of the data set.
        settings: fields of its configuration, as JSON.
        seed: of the chunk of questions that it is of.
        index: its place there.
        check: see :func:`check_of`.
    """

    name: str
    settings: str
    seed: int
    index: int
    check: int

    def details(self) -> str:
        """The recipe as a question's details."""
        return json.dumps({"kind": _KIND, **asdict(self)})


def recipe_of(details: str) -> Recipe | None:
    """A question's recipe; None if it is not of reasoning-gym."""
    if not details.startswith(f'{{"kind": "{_KIND}"'):
        return None
    fields = json.loads(details)
    del fields["kind"]
    return Recipe(**fields)


def check_of(entry: dict[str, Any]) -> int:
    """A fingerprint of all that a scorer may look at: question, answer and metadata."""
    return hash_seed(repr(entry))
