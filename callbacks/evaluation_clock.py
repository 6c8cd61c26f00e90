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

    def add(self, trainer: Trainer, pl_module: Any, batch: RolloutBatch) -> str:
        """Count a batch; return the line to show after it."""
        if not self._asked:
            self._to_ask = _to_ask(trainer, pl_module.evaluator.known)
        self._asked += len(batch.source)
        seconds = (time.monotonic() - self._started) / self._asked
        left = seconds * (self._to_ask - self._asked)
        self._solved += float(batch.pass_rate_Q.sum())
        name, accuracy = batch.source.dataset, self._solved / self._asked
        share = "" if trainer.world_size == 1 else f" (one of {trainer.world_size} processes)"
        return (
            f"{name}: asked {self._asked} of {self._to_ask} questions{share}  "
            f"mean acc {accuracy:.3f}  ends {clock(left)}"
        )

    @property
    def fresh(self) -> bool:
        """Whether nothing is asked yet."""
        return not self._asked

    @property
    def done(self) -> bool:
        """Whether everything is asked."""
        return self._asked >= self._to_ask


def clock(seconds: float) -> str:
    """The time this many seconds from now; with its date if that is a day or more away."""
    form = "%H:%M:%S" if seconds < A_DAY else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(time.time() + seconds))


def command_of(trainer: Trainer) -> str:
    """``fit``, ``validate``, ``test`` or ``predict``."""
    assert trainer.state.fn is not None
    return str(trainer.state.fn.value)


def loaders_of(trainer: Trainer) -> list[Any]:
    """The loaders of what the command is evaluating; training evaluates on ``val``."""
    found: Any = {
        "fit": trainer.val_dataloaders,
        "validate": trainer.val_dataloaders,
        "test": trainer.test_dataloaders,
        "predict": trainer.predict_dataloaders,
    }[command_of(trainer)]
    return found if isinstance(found, list) else [found]


def _to_ask(trainer: Trainer, known: dict[str, Any]) -> int:
    loaders = loaders_of(trainer)
    # Only `predict` may leave out questions.
    limits = trainer.num_predict_batches if command_of(trainer) == "predict" else [None]
    total = 0
    for place, loader in enumerate(loaders):
        done = known.get(loader.dataset.name, ())
        batches = loader.batch_sampler  # under `predict`, the loader's own sampler is another
        rows = sum(loader.dataset.questions[row].id not in done for row in batches.sampler)
        limit = limits[place] if place < len(limits) else None
        total += rows if limit is None else min(rows, int(limit * batches.batch_size))
    return total
