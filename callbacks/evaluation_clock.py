"""Progress of an evaluation, and its finish time."""

import time
from typing import Any

from lightning.pytorch import Trainer

from fgexpo.types import RolloutBatch

A_DAY = 24 * 3600.0


class EvaluationClock:
    """Counts the questions that this process asks; those already answered cost nothing."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._asked = 0
        self._solved = 0.0
        self._to_ask = 0

    def line(self, trainer: Trainer, pl_module: Any, batch: RolloutBatch) -> str:
        """The line to show after a batch."""
        if not self._asked:
            self._to_ask = _to_ask(trainer.test_dataloaders, pl_module.evaluator.known)
        self._asked += len(batch.source)
        seconds = (time.monotonic() - self._started) / self._asked
        left = seconds * (self._to_ask - self._asked)
        self._solved += float(batch.pass_rate_Q.sum())
        name, accuracy = batch.source.dataset, self._solved / self._asked
        return (
            f"{name}: asked {self._asked} of {self._to_ask} questions  "
            f"mean acc {accuracy:.3f}  ends {clock(left)}"
        )


def clock(seconds: float) -> str:
    """The time this many seconds from now; with its date if that is a day or more away."""
    form = "%H:%M:%S" if seconds < A_DAY else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(time.time() + seconds))


def _to_ask(loaders: Any, known: dict[str, Any]) -> int:
    return sum(
        loader.dataset.questions[row].id not in known.get(loader.dataset.name, ())
        for loader in (loaders if isinstance(loaders, list) else [loaders])
        for row in loader.sampler
    )
