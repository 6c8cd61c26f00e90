"""Gaussian curriculum sampling (GCS): most often ask questions that are solved half of the time.

Equations (6) and (7) of FG-ExPO (arXiv 2605.11403): an exponential moving average tracks every
question's pass-rate, ``p <- decay * p + (1 - decay) * mean_g R``, and a question is drawn
with probability proportional to ``exp(-(p - mean)^2 / (2 std^2))``.

A new curriculum is one small class: subclass :class:`Curriculum`, return weights, name it in YAML.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from ..questions import Question
from .pass_rates import PassRateTable


class Curriculum(ABC):
    """Decides what to ask next, given the pass-rates.

    Only :meth:`weights` is required. A rule that reads the questions, or keeps a state, overrides
    the other methods.
    """

    @abstractmethod
    def weights(self, table: PassRateTable) -> Tensor:
        """Unnormalised, non-negative sampling weights, float64 [M]."""

    def rates(self, table: PassRateTable) -> Tensor:
        """The rule's best estimate of every question's pass-rate, float64 [M]."""
        return table.pass_rates

    def prepare(self, questions: list[Question]) -> None:  # noqa: B027
        """See the pool's M questions, once, before the first call of :meth:`weights`."""

    def observe(self, index: Tensor, pass_rate: Tensor) -> None:  # noqa: B027
        """See the batch just graded (the table has seen it already): rows [Q], pass-rates [Q]."""

    def state_dict(self) -> dict[str, Any]:
        """The state that the rule needs after a restart; floats, ints, strings and tensors only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore what :meth:`state_dict` returned."""
