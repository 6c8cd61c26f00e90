"""More rollouts where what is known of a question makes a signal likelier with each."""

import heapq

import torch
from torch import Tensor

from ..errors import UserError
from .base import Allocation, Tally, Weigh, check_bounds, check_weigh


class ByPosterior(Allocation):
    """Maximises the expected number of groups with both a right and a wrong rollout.

    The curriculum's estimate p, resting on n rollouts, makes a posterior
    ``Beta(1 + n p, 1 + n (1 - p))`` of a question's pass-rate; a question not seen yet has a
    uniform one. Sizes are fixed before anything is sampled, so pass-rates stay unbiased. Budgets
    shared out by a value of each further rollout: Knapsack RL (arXiv 2509.25849).

    Args:
        least: rollouts of a question at least.
        most: rollouts of a question at most.
        memory: rollouts that an estimate rests on at most, since the policy moves on; below that,
            ``model.group_size`` for each visit, whatever sizes earlier steps had.
        weigh: what counts alike in the loss; see :class:`Allocation`.

    Raises:
        UserError: for settings out of range.
    """

    needs_curriculum = True

    def __init__(
        self, least: int = 2, most: int = 32, memory: int = 16, weigh: Weigh = "question"
    ) -> None:
        if least < 2:
            raise UserError(f"model.allocation.least must be at least 2, got {least}")
        if memory < 1:
            raise UserError(f"model.allocation.memory must be at least 1, got {memory}")
        check_weigh(weigh)
        self.least, self.most, self.memory, self.weigh = least, most, memory, weigh

    def check(self, group_size: int) -> None:
        """The budget must reach for the least, and be spent by the most."""
        check_bounds("least", self.least, self.most, group_size)

    def smallest(self, group_size: int) -> int:
        """The least."""
        return self.least

    def share(self, tally: Tally) -> Tensor:
        """All at once, by the posteriors."""
        if tally.tried_Q.any():
            return torch.zeros_like(tally.tried_Q)
        assert tally.pass_rate_Q is not None and tally.visits_Q is not None
        known_Q = (tally.visits_Q * tally.group_size).clamp(max=self.memory).double()
        right_Q = 1 + known_Q * tally.pass_rate_Q
        wrong_Q = 1 + known_Q * (1 - tally.pass_rate_Q)
        sizes = likely_signals(
            right_Q.tolist(), wrong_Q.tolist(), self.least, self.most, tally.left
        )
        return torch.tensor(sizes)


def likely_signals(
    right: list[float], wrong: list[float], least: int, most: int, budget: int
) -> list[int]:
    """Sizes of groups, of this sum, for which most groups are expected to have a signal.

    A group of n has none with probability E[p^n + (1-p)^n] over its posterior Beta(a, b). What a
    further rollout takes off that falls with n, so that giving each rollout to the question where
    it is worth most is optimal. Ties go to the first question.

    Args:
        right: a of each question's posterior.
        wrong: b of each one's.
        least: rollouts of a question at least.
        most: at most.
        budget: rollouts in all, from ``least`` to ``most`` times the questions.
    """
    sizes = [least] * len(right)
    # Of each question: probabilities that all, and that none, of its rollouts are right.
    alike = []
    for a, b in zip(right, wrong, strict=True):
        all_right = all_wrong = 1.0
        for n in range(least):
            all_right *= (a + n) / (a + b + n)
            all_wrong *= (b + n) / (a + b + n)
        alike.append((all_right, all_wrong))

    def worth(q: int) -> float:
        total = right[q] + wrong[q] + sizes[q]
        return alike[q][0] * wrong[q] / total + alike[q][1] * right[q] / total

    queue = [(-worth(q), q) for q in range(len(right)) if least < most]
    heapq.heapify(queue)
    for _ in range(budget - sum(sizes)):
        _, q = heapq.heappop(queue)
        n, total = sizes[q], right[q] + wrong[q] + sizes[q]
        alike[q] = (alike[q][0] * (right[q] + n) / total, alike[q][1] * (wrong[q] + n) / total)
        sizes[q] += 1
        if sizes[q] < most:
            heapq.heappush(queue, (-worth(q), q))
    return sizes
