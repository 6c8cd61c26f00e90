"""The watch for right answers that are not read, over batches and processes."""

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..parallel.collectives import mean_over_processes
from ..rewards import Verifier
from ..rewards.unread import unread, unread_warning
from ..types import RolloutBatch

# Training steps of a process that are looked at; every evaluation is.
FIRST_STEPS = 5
_NOTHING = (0, 0, 0, 0)


class UnreadAnswers:
    """Counts completions, and says once per run that right ones are not read.

    Args:
        verifier: only one that says what it reads is watched.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._reads: str | None = getattr(verifier, "reads", None)
        self._counts: tuple[int, ...] = _NOTHING
        self._steps = 0

    def look(self, batch: RolloutBatch) -> None:
        """Count this process's completions of a batch."""
        if self._reads is None:
            return
        asked = batch.groups.each(batch.source.questions)
        found = unread(asked, batch.texts, batch.verdicts)
        self._counts = tuple(a + b for a, b in zip(self._counts, found, strict=True))

    def look_at_step(self, trainer: Trainer, batch: RolloutBatch) -> None:
        """The same for a training step; all processes take part."""
        if self._steps < FIRST_STEPS:
            self._steps += 1
            self.look(batch)
            self.tell(trainer)

    def tell(self, trainer: Trainer) -> None:
        """Say what the processes have counted, if it is worth it; all processes take part."""
        if self._reads is None:
            return
        own = {str(place): float(count) for place, count in enumerate(self._counts)}
        self._counts = _NOTHING
        counts = mean_over_processes(trainer, own, trainer.strategy.root_device)
        if not counts["0"]:
            return
        sentence = unread_warning(self._reads, list(counts.values()))
        if sentence is not None:
            rank_zero_info(sentence)
            self._reads = None  # once
