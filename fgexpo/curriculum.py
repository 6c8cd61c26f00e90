"""Gaussian curriculum sampling (GCS): ask most often what is solved about half of the time.

Equations (6) and (7) of FG-ExPO (arXiv 2605.11403): every question's pass-rate is followed by an
exponential moving average, ``p <- decay * p + (1 - decay) * mean_g R``, and a question is drawn
with probability proportional to ``exp(-(p - mean)^2 / (2 std^2))``.

A new curriculum is one small class: subclass :class:`Curriculum`, return weights, name it in YAML.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from .errors import UserError
from .questions import Question

# Pass-rates of questions that are neither hopeless nor mastered.
FRONTIER = (0.2, 0.8)


def gaussian_weights(pass_rate_M: Tensor, mean: float = 0.5, std: float = 0.35) -> Tensor:
    """Unnormalised sampling weights of equation (7), float64 [M], at most 1."""
    pass_rate_M = torch.as_tensor(pass_rate_M, dtype=torch.float64)
    return torch.exp(-((pass_rate_M - mean) ** 2) / (2 * std**2))


def effective_sample_size(weights_M: Tensor) -> float:
    """Kish's (sum w)^2 / sum w^2: how many equally likely questions the weights amount to."""
    weights_M = weights_M.double()
    return float(weights_M.sum() ** 2 / (weights_M**2).sum())


class PassRateTable:
    """Moving averages of the pass-rates of M questions, equation (6).

    Args:
        size: M, questions in the pool.
        decay: alpha of the paper, in [0, 1): weight of the old value.
        initial: every question's pass-rate before its first visit.

    Attributes:
        pass_rates: float64 [M].
        visits: times each question was observed, int64 [M].
    """

    def __init__(self, size: int, decay: float = 0.9, initial: float = 0.5) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"decay must be in [0, 1), got {decay}")
        if not 0 <= initial <= 1:
            raise UserError(f"initial pass-rate must be in [0, 1], got {initial}")
        self.decay = decay
        self.pass_rates = torch.full((size,), float(initial), dtype=torch.float64)
        self.visits = torch.zeros(size, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.pass_rates)

    def update(self, index: Tensor, pass_rate: Tensor) -> None:
        """Move the averages of the questions just sampled; the others stay.

        Args:
            index: distinct rows, int64 [Q].
            pass_rate: mean correctness of each one's group, in [0, 1], [Q].
        """
        index = torch.as_tensor(index, dtype=torch.int64).cpu()
        pass_rate = torch.as_tensor(pass_rate, dtype=torch.float64).cpu()
        assert index.unique().numel() == index.numel(), "a question appears twice in one batch"
        old = self.pass_rates[index]
        self.pass_rates[index] = self.decay * old + (1 - self.decay) * pass_rate
        self.visits[index] += 1

    def metrics(self) -> dict[str, float]:
        """How far the pool is known, once a question was observed."""
        seen = self.visits > 0
        frontier = (self.pass_rates >= FRONTIER[0]) & (self.pass_rates <= FRONTIER[1])
        # Sums, since picking rows costs five times as much in a large pool.
        count = int(seen.count_nonzero())
        return {
            "frac_seen": count / len(self),
            # Unseen questions stand at 0.5 and would all count: only what was seen is judged.
            "frac_frontier": int((frontier & seen).count_nonzero()) / count,
            "mean_pass_rate": float((self.pass_rates * seen).sum()) / count,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of both columns, ready for a checkpoint."""
        return {"pass_rates": self.pass_rates.clone(), "visits": self.visits.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore both columns.

        Raises:
            UserError: when the saved table has another number of questions.
        """
        if len(state["pass_rates"]) != len(self):
            raise UserError(
                f"the saved pass-rate table holds {len(state['pass_rates'])} questions, "
                f"the pool has {len(self)}"
            )
        self.pass_rates = state["pass_rates"].clone()
        self.visits = state["visits"].clone()

    def carry_over(self, state: dict[str, Tensor], keys: Tensor, own_keys: Tensor) -> None:
        """Take from another pool's state what is known of this pool's questions.

        Args:
            state: what :meth:`state_dict` returned there.
            keys: of that pool's questions, one number each.
            own_keys: of this pool's, int64 [M].
        """
        rows = {key: row for row, key in enumerate(keys.tolist())}
        for row, key in enumerate(own_keys.tolist()):
            if key in rows:
                self.pass_rates[row] = state["pass_rates"][rows[key]]
                self.visits[row] = state["visits"][rows[key]]


class Curriculum(ABC):
    """What to ask next, given the pass-rates.

    Only :meth:`weights` is required. A rule that looks at the questions, or has a
    memory of its own, overrides the others.
    """

    @abstractmethod
    def weights(self, table: PassRateTable) -> Tensor:
        """Unnormalised, non-negative sampling weights, float64 [M]."""

    def prepare(self, questions: list[Question]) -> None:  # noqa: B027
        """See the pool's M questions, once, before any weight is asked for."""

    def observe(self, index: Tensor, pass_rate: Tensor) -> None:  # noqa: B027
        """See the batch just graded (the table has seen it already): rows [Q], pass-rates [Q]."""

    def state_dict(self) -> dict[str, Any]:
        """What the rule must remember over a restart; floats, ints, strings and tensors only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore what :meth:`state_dict` returned."""


class Gaussian(Curriculum):
    """The paper's curriculum: weights peak at pass-rate ``mean`` and fall off with ``std``."""

    def __init__(self, mean: float = 0.5, std: float = 0.35) -> None:
        if std <= 0:
            raise UserError(f"data.curriculum.std must be above 0, got {std}")
        self.mean = mean
        self.std = std

    def weights(self, table: PassRateTable) -> Tensor:
        """Equation (7)."""
        return gaussian_weights(table.pass_rates, self.mean, self.std)


class Uniform(Curriculum):
    """Plain GRPO: every question is equally likely."""

    def weights(self, table: PassRateTable) -> Tensor:
        """Ones."""
        return torch.ones(len(table), dtype=torch.float64)
