"""Pass-rates of the pool, tracked by moving averages: equation (6)."""

import torch
from torch import Tensor

from ..errors import UserError

# Pass-rates of questions that are neither hopeless nor mastered.
FRONTIER = (0.2, 0.8)


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
        """Statistics of the questions seen; empty before the first observation."""
        seen = self.visits > 0
        frontier = (self.pass_rates >= FRONTIER[0]) & (self.pass_rates <= FRONTIER[1])
        # Sums, since indexing rows costs five times as much in a large pool.
        count = int(seen.count_nonzero())
        return {
            "frac_seen": count / len(self),
            # Unseen questions are at 0.5 and would all count, so only seen ones do.
            "frac_frontier": int((frontier & seen).count_nonzero()) / count,
            "mean_pass_rate": float((self.pass_rates * seen).sum()) / count,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of both columns, ready for a checkpoint."""
        return {"pass_rates": self.pass_rates.clone(), "visits": self.visits.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore both columns.

        Raises:
            UserError: when the saved table has a different number of questions, or a number that
                is no pass-rate.
        """
        check_table(state)
        if len(state["pass_rates"]) != len(self):
            raise UserError(
                f"the saved pass-rate table holds {len(state['pass_rates'])} questions, "
                f"the pool has {len(self)}"
            )
        self.pass_rates = state["pass_rates"].clone()
        self.visits = state["visits"].clone()

    def carry_over(self, state: dict[str, Tensor], keys: Tensor, own_keys: Tensor) -> None:
        """Take over what another pool's state holds about this pool's questions.

        Args:
            state: what :meth:`state_dict` returned there.
            keys: one number for each of that pool's questions.
            own_keys: the same for this pool's questions, int64 [M].

        Raises:
            UserError: when that state holds a number that is no pass-rate.
        """
        check_table(state)
        rows = {key: row for row, key in enumerate(keys.tolist())}
        for row, key in enumerate(own_keys.tolist()):
            if key in rows:
                self.pass_rates[row] = state["pass_rates"][rows[key]]
                self.visits[row] = state["visits"][rows[key]]


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
