"""What a worker does for :class:`.ReasoningGym`: it makes items and keeps those that are asked for.

In a process of its own, since some data sets draw from process-wide generators or go through sets
of texts: there the generators are pinned, and so is the hash seed.
"""

import json
import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

from ..errors import UserError
from ..seeding import hash_seed
from .details import Recipe, check_of
from .splits import part_of, share_of

BUDGET_SECONDS = 1.0  # after which what was made so far is reported
IDLE_SECONDS = 60  # after which the worker ends by itself
# A part is used up after so many draws without a new question of it, for each text that is known.
_PATIENCE, _FIRST_PATIENCE = 8, 50


class Draw:
    """Draws items of one data set until each part has the number that is wanted.

    Args:
        name: of the data set.
        settings: fields of its configuration.
        seed: of its items.
        wanted: different questions of each part.

    Raises:
        UserError: when the data set or its settings cannot be.
    """

    def __init__(
        self, name: str, settings: dict[str, Any], seed: int, wanted: dict[Any, int]
    ) -> None:
        self.name, self.settings, self.seed = name, settings, seed
        self.missing = {part: number for part, number in wanted.items() if number}
        self._items = self._stream()
        self._seen: set[int] = set()
        self._since_new = 0

    def more(self) -> tuple[list[dict[str, Any]], bool]:
        """The questions found within the time, and whether there are no more to be found."""
        found: list[dict[str, Any]] = []
        until = time.monotonic() + BUDGET_SECONDS
        while self.missing and time.monotonic() < until:
            if self._since_new > self._patience():
                return found, True
            recipe, entry = next(self._items)
            text = entry["question"]
            key = hash_seed(text)
            part = part_of(text)
            self._since_new += 1
            if key in self._seen:
                continue
            self._seen.add(key)
            if part in self.missing:
                self._since_new = 0
                found.append(self._question(part, recipe, entry))
                self.missing[part] -= 1
                if not self.missing[part]:
                    del self.missing[part]
        return found, False

    def _patience(self) -> float:
        rarest = min(share_of(part) for part in self.missing)
        return _PATIENCE * len(self._seen) + _FIRST_PATIENCE / rarest

    def _stream(self) -> Iterator[tuple[tuple[str, str, int, int], dict[str, Any]]]:
        from .datasets import CHUNK, item

        settings = json.dumps(self.settings)
        for number in count():
            seed = hash_seed("reasoning_gym", self.seed, number) % 2**31
            for index in range(CHUNK):
                recipe = self.name, settings, seed, index
                yield recipe, item(*recipe)

    def _question(
        self, part: str, recipe: tuple[str, str, int, int], entry: dict[str, Any]
    ) -> dict[str, Any]:
        answer = entry["answer"]
        return {
            "part": part,
            "text": entry["question"],
            "answer": "" if answer is None else str(answer),
            "tags": _tags(self.name, entry["metadata"]),
            "details": Recipe(*recipe, check_of(entry)).details(),
        }


def _tags(name: str, metadata: dict[str, Any]) -> dict[str, str]:
    """The data set, and how difficult the item is, as far as a number or a word says it."""
    tags = {"task": name}
    difficulty = metadata.get("difficulty")
    if not isinstance(difficulty, dict):
        difficulty = {} if difficulty is None else {"difficulty": difficulty}
    for key, given in difficulty.items():
        value = metadata.get(key, given)
        if isinstance(value, str | int | float) and str(value).strip():
            tags.setdefault(key, str(value)[:40])
    return tags


_draw: Draw | None = None


def prepare() -> None:
    """Import the package; print nothing from here on."""
    from .score import quiet

    quiet()
    from . import datasets  # noqa: F401

    signal.alarm(IDLE_SECONDS)


def answer(what: str, *fields: Any) -> dict[str, Any]:
    """Do one of: ``check`` a data set and its settings, ``start`` a draw, get ``more`` of it.

    Returns:
        What was found, or a sentence as ``refused``.
    """
    global _draw
    signal.alarm(0)
    try:
        if what == "check":
            from .datasets import build

            build(*fields, seed=0, size=1)
            return {}
        if what == "start":
            _draw = Draw(*fields)
        assert _draw is not None
        found, used_up = _draw.more()
        return {"found": found, "done": not _draw.missing, "used_up": used_up}
    except UserError as error:
        return {"refused": str(error)}
    except (Exception, MemoryError, RecursionError) as error:
        # Of the package's own code, with settings that it took; the parent ends with the sentence.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        name = fields[0] if fields or _draw is None else _draw.name
        return {
            "refused": f"ReasoningGym {name}: reasoning-gym could not make a question: {reason}"
        }
    finally:
        signal.alarm(IDLE_SECONDS)
