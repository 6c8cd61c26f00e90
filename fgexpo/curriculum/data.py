"""What training needs from a data module that has a curriculum."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..types import QuestionBatch


@runtime_checkable
class CurriculumData(Protocol):
    """A data module that learns how its questions went, and can draw more of them.

    Attributes:
        questions_per_step: questions of a rollout step, over all processes.
    """

    questions_per_step: int

    def observe(self, index: Tensor, pass_rate: Tensor) -> dict[str, float]:
        """Learn how a step's questions went; give back scalars to log."""
        ...

    def more_questions(self, wave: int, asked: Tensor) -> QuestionBatch | None:
        """This process's share of another draw for the current step; None if too few are left."""
        ...


@runtime_checkable
class Estimates(Protocol):
    """A data module that says what it takes its questions' pass-rates to be."""

    def pass_rates(self, index: Tensor) -> Tensor:
        """The estimate of each question's pass-rate as it stands, float64; rows of the pool."""
        ...

    def visits(self, index: Tensor) -> Tensor:
        """How many steps each of these estimates rests on, int64."""
        ...


def curriculum_data(trainer: Any) -> CurriculumData | None:
    """The trainer's data module, if it has a curriculum."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, CurriculumData) else None


def estimates(data: Any) -> Estimates | None:
    """A data module that has estimates of its questions' pass-rates; None for any other."""
    return data if isinstance(data, Estimates) else None
