"""Pass-rates of the pool, tracked by moving averages: equation (6)."""

import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

# Pass-rates of questions that are neither hopeless nor mastered.
FRONTIER = (0.2, 0.8)
# Of sums of numbers up to 1.
ROUNDING = 1e-9
# Of the mean of a group's verdicts, which may be kept in float32.
MEAN_ROUNDING = 1e-6


def frontier_share(rates: Tensor) -> float:
    """Share of some questions whose pass-rates, as just measured, lie on the frontier.

    Args:
        rates: the share of right rollouts of each, [A].
    """
    low, high = FRONTIER[0] - MEAN_ROUNDING, FRONTIER[1] + MEAN_ROUNDING
    return float(((rates >= low) & (rates <= high)).double().mean())


def debiased_rates(averages_M: Tensor, visits_M: Tensor, decay: float, initial: float) -> Tensor:
    """Moving averages without what is left in them of where they started; float64 [M].

    ``(average - decay^n initial) / (1 - decay^n)`` after n visits: the mean of the outcomes, the
    k-th newest weighted by ``decay^k`` (Adam's correction, arXiv 1412.6980, section 3). Questions
    without a visit stay at ``initial``.

    Args:
        averages_M: equation (6) after the visits, all of them with this decay.
        visits_M: times each question was observed, int64.
        decay: weight of the old value, in [0, 1).
        initial: where every average started.
    """
    left_M = torch.pow(torch.tensor(decay, dtype=torch.float64), visits_M)
    seen_M = visits_M > 0
    corrected_M = (averages_M - left_M * initial) / torch.where(seen_M, 1 - left_M, 1.0)
    return torch.where(seen_M, corrected_M.clamp(0, 1), averages_M)


class PassRateTable:
    """Moving averages of the pass-rates of M questions, equation (6).

    Args:
        size: M, questions in the pool.
        decay: alpha of the paper, in [0, 1): weight of the old value.
        initial: every question's pass-rate before its first visit.
        debias: correct the pass-rates for that start, see :func:`debiased_rates`.

    Attributes:
        averages: the moving averages as they are kept, float64 [M].
        visits: times each question was observed, int64 [M].
    """

    def __init__(
        self, size: int, decay: float = 0.9, initial: float = 0.5, debias: bool = False
    ) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"decay must be in [0, 1), got {decay}")
        if not 0 <= initial <= 1:
            raise UserError(f"initial pass-rate must be in [0, 1], got {initial}")
        self.decay = decay
        self.initial = float(initial)
        self.debias = debias
        self.averages = torch.full((size,), self.initial, dtype=torch.float64)
        self.visits = torch.zeros(size, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.averages)

    @property
    def pass_rates(self) -> Tensor:
        """What is believed of each question: its average, corrected where that is asked; [M]."""
        if not self.debias:
            return self.averages
        return debiased_rates(self.averages, self.visits, self.decay, self.initial)

    def believing(self, rates_M: Tensor) -> Self:
        """The same table with other pass-rates, for a curriculum that wraps another."""
        other = copy.copy(self)
        other.averages, other.debias = rates_M, False
        return other

    def start(self, row: int, rate: float, visits: int) -> None:
        """Begin a question at a pass-rate that was measured, not averaged.

        Its pass-rate is then ``rate``, also where the averages are corrected for their start: its
        average is what so many visits with this outcome lead to.

        Args:
            row: of the question.
            rate: share of right rollouts, in [0, 1].
            visits: that the measurement is worth, at least 1.
        """
        left = self.decay**visits if self.debias else 0.0
        self.averages[row] = left * self.initial + (1 - left) * rate
        self.visits[row] = visits

    def update(self, index: Tensor, pass_rate: Tensor) -> None:
        """Move the averages of the questions just sampled; the others stay.

        Args:
            index: distinct rows, int64 [Q].
            pass_rate: mean correctness of each one's group, in [0, 1], [Q].
        """
        index = torch.as_tensor(index, dtype=torch.int64).cpu()
        pass_rate = torch.as_tensor(pass_rate, dtype=torch.float64).cpu()
        assert index.unique().numel() == index.numel(), "a question appears twice in one batch"
        old = self.averages[index]
        self.averages[index] = self.decay * old + (1 - self.decay) * pass_rate
        self.visits[index] += 1

    def metrics(self) -> dict[str, float]:
        """Statistics of the questions seen; empty before the first observation."""
        # In a large pool, NumPy compares in a quarter of torch's time.
        seen, rates = self.visits.numpy() > 0, self.pass_rates.numpy()
        frontier = (rates >= FRONTIER[0]) & (rates <= FRONTIER[1])
        # Sums, since indexing rows costs five times as much.
        count = int(np.count_nonzero(seen))
        return {
            "frac_seen": count / len(self),
            # Unseen questions are at 0.5 and would all count, so only seen ones do.
            "frac_frontier": int(np.count_nonzero(frontier & seen)) / count,
            # Added by torch: NumPy's order of adding, and so its rounding, is another.
            "mean_pass_rate": float(torch.from_numpy(rates * seen).sum()) / count,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of both columns, ready for a checkpoint."""
        return {"pass_rates": self.averages.clone(), "visits": self.visits.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore both columns.

        Raises:
            UserError: when the saved table has a different number of questions, a number that is no
                pass-rate, or one that :meth:`check` refuses.
        """
        check_table(state)
        self.check(state["pass_rates"], state["visits"])
        if len(state["pass_rates"]) != len(self):
            raise UserError(
                f"the saved pass-rate table holds {len(state['pass_rates'])} questions, "
                f"the pool has {len(self)}"
            )
        self.averages = state["pass_rates"].clone()
        self.visits = state["visits"].clone()

    def carry_over(self, state: dict[str, Tensor], keys: Tensor, own_keys: Tensor) -> None:
        """Take over what another pool's state holds about this pool's questions.

        Args:
            state: what :meth:`state_dict` returned there.
            keys: one number for each of that pool's questions.
            own_keys: the same for this pool's questions, int64 [M].

        Raises:
            UserError: when that state holds a number that is no pass-rate, or one that
                :meth:`check` refuses.
        """
        check_table(state)
        self.check(state["pass_rates"], state["visits"])
        rows = {key: row for row, key in enumerate(keys.tolist())}
        for row, key in enumerate(own_keys.tolist()):
            if key in rows:
                self.averages[row] = state["pass_rates"][rows[key]]
                self.visits[row] = state["visits"][rows[key]]

    def check(self, averages_M: Tensor, visits_M: Tensor) -> None:
        """Check that averages from elsewhere can be corrected for their start by this decay.

        Each visit moves an average, so n visits lead from ``initial`` to no number outside
        ``decay^n initial + [0, 1 - decay^n]``. One that lies outside was made with another decay.
        (One that lies inside may have been, too.)

        Raises:
            UserError: naming the first that was, if the pass-rates are to be corrected.
        """
        if not self.debias:
            return
        left_M = torch.pow(torch.tensor(self.decay, dtype=torch.float64), visits_M)
        low_M = left_M * self.initial
        off_M = (averages_M < low_M - ROUNDING) | (averages_M > low_M + 1 - left_M + ROUNDING)
        if off_M.any():
            row = int(off_M.nonzero()[0])
            raise UserError(
                f"data.debias: a saved pass-rate is {float(averages_M[row]):g} after "
                f"{int(visits_M[row])} visits, which data.decay = {self.decay:g} does not lead to "
                f"from {self.initial:g}; set data.decay as it was, or data.debias=false"
            )


def check_table(state: dict[str, Tensor]) -> None:
    """Check the numbers of a saved table.

    Raises:
        UserError: naming the first row whose pass-rate is not in [0, 1], or whose visits are less
            than 0.
    """
    rates_M, visits_M = state["pass_rates"], state["visits"]
    if rates_M.shape != visits_M.shape:
        raise UserError(
            f"the saved pass-rate table holds {len(rates_M)} pass-rates, but the visits of "
            f"{len(visits_M)} questions"
        )
    right_M = (rates_M >= 0) & (rates_M <= 1) & (visits_M >= 0)  # NaN is neither
    if not right_M.all():
        row = int((~right_M).nonzero()[0])
        raise UserError(
            f"the saved pass-rate table holds the pass-rate {float(rates_M[row])} after "
            f"{int(visits_M[row])} visits in row {row}, expected one in [0, 1]"
        )
