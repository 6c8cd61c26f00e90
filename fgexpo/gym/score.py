"""What a worker does for :class:`.ReasoningGymScorer`; see :mod:`fgexpo.isolated`."""

import os
import sys
import warnings
from copy import deepcopy
from functools import lru_cache
from typing import Any

from .details import check_of, recipe_of


def prepare() -> None:
    """Import the package, silence what its scorers print, and guard what they evaluate."""
    quiet()
    from . import datasets  # noqa: F401
    from .guards import guard_evaluation

    guard_evaluation()


def quiet() -> None:
    """Print nothing from here on: some data sets do, and so do warnings about strange answers."""
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True  # while a scorer runs nothing may be written
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def answer(details: str, text: str | None = None) -> tuple[float, str, str]:
    """An answer's score, 0 to 1; the error that its scorer ended with; why there is no scorer.

    Args:
        details: the question's.
        text: the answer; None to make the question again, which may take long, and no more.
    """
    from .datasets import chunk
    from .guards import Refused, scoring

    entry, reason = _made(details)
    recipe = recipe_of(details)
    if entry is None or recipe is None:
        return 0.0, "", reason
    data_set = chunk(recipe.name, recipe.settings, recipe.seed)
    if text is None:
        return 0.0, "", ""
    own = deepcopy(entry)  # a scorer may change what it is given
    try:
        with scoring():
            return float(data_set.score_answer(text, own)), "", ""
    except Refused:
        return 0.0, "", ""
    except (Exception, MemoryError, RecursionError) as error:
        # Whatever error an answer causes, it is not right; the parent tells it once.
        return 0.0, _told(error, 100), ""


# The answers of a group, and of a few groups that are scored in turn, share an entry.
@lru_cache(maxsize=256)
def _made(details: str) -> tuple[dict[str, Any] | None, str]:
    """The question as its source made it, or why that cannot be."""
    from .datasets import item

    recipe = recipe_of(details)
    if recipe is None:
        return None, "the question is not of a ReasoningGym source, so there is no scorer for it"
    try:
        entry = item(recipe.name, recipe.settings, recipe.seed, recipe.index)
    except (Exception, MemoryError, RecursionError) as error:
        reason = f"could not make it again to score answers: {_told(error, 200)}"
        return None, f"reasoning-gym's {recipe.name} {reason}"
    if check_of(entry) != recipe.check:
        return None, (
            f"reasoning-gym's {recipe.name} makes another question from the same seed when its "
            "answers are scored, so none can be graded"
        )
    return entry, ""


def _told(error: BaseException, length: int) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:length]}"
