"""What a worker does for :class:`.ReasoningGymScorer`; see :mod:`fgexpo.isolated`."""

import os
import sys
import warnings

from .details import unpack


def prepare() -> None:
    """Import the package, silence what its scorers print, and guard what they evaluate."""
    quiet()
    from .datasets import scorer_of
    from .guards import guard_evaluation

    scorer_of("chain_sum", "{}")
    guard_evaluation()


def quiet() -> None:
    """Print nothing from here on: some data sets do, and so do warnings about strange answers."""
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True  # while a scorer runs nothing may be written
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def answer(details: str, text: str) -> tuple[float, str]:
    """An answer's score, 0 to 1, and the error that its scorer ended with, or nothing.

    Args:
        details: the question's.
        text: the answer.
    """
    from .datasets import scorer_of
    from .guards import Refused, scoring

    name, settings, entry = unpack(details)
    data_set = scorer_of(name, settings)
    try:
        with scoring():
            return float(data_set.score_answer(text, entry)), ""
    except Refused:
        return 0.0, ""
    except (Exception, MemoryError, RecursionError) as error:
        # Whatever error an answer causes, it is not right; the parent tells it once.
        return 0.0, f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
