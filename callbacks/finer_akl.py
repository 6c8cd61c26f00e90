"""AKL by rollout and by token: what each has shown itself sets how hard the reference pulls on it.

Both are future work of the paper (arXiv 2605.11403). ``Matched`` is the control of either.
"""

import math
from typing import Literal, get_args

from torch import Tensor

from fgexpo.errors import UserError
from fgexpo.kl import Rho, Tanh, check_rho, confidence, running_confidence
from fgexpo.types import RolloutBatch

from .akl import KLController

Signal = Literal["verdict", "confidence"]


class TrajectoryAKL(KLController):
    """``beta_n = kl_coef * rho(competence of rollout n)``, for all of its tokens.

    Args:
        rho: a non-decreasing function of competence with positive values.
        signal: what competence is: ``verdict``, 1 for a right rollout and 0 for a wrong one; or
            ``confidence``, the geometric mean of its tokens' probabilities when they were sampled.

    Raises:
        UserError: if rho is not such a function, or the signal is another.
    """

    def __init__(self, rho: Rho = Tanh(), signal: Signal = "verdict") -> None:
        check_rho(rho)
        if signal not in get_args(Signal):
            raise UserError(f"akl.signal must be one of {get_args(Signal)}, got {signal!r}")
        self.rho = rho
        self.signal = signal

    def factor(self, batch: RolloutBatch, accuracy: float) -> Tensor:
        """Rho of each rollout's competence, [N]."""
        if self.signal == "verdict":
            return applied(self.rho, batch.correct_N)
        done = batch.completions
        return applied(self.rho, confidence(done.logp_NT, done.mask_NT))


class TokenAKL(KLController):
    """``beta_t = kl_coef * rho(competence shown before token t)``, for every token of a rollout.

    Competence is the geometric mean of the probabilities of the rollout's earlier tokens when they
    were sampled, with a prior that counts as some tokens more.

    Args:
        rho: a non-decreasing function of competence with positive values.
        prior: weight of the prior, in tokens, above 0.
        start: probability that it stands for, in (0, 1]: the first token's competence.

    Raises:
        UserError: if rho is not such a function, or a setting is out of range.
    """

    def __init__(self, rho: Rho = Tanh(), prior: float = 8.0, start: float = 0.5) -> None:
        check_rho(rho)
        if not (prior > 0 and math.isfinite(prior)):
            raise UserError(f"akl.prior must be above 0 and finite, got {prior}")
        if not 0 < start <= 1:
            raise UserError(f"akl.start must be in (0, 1], got {start}")
        self.rho = rho
        self.prior = prior
        self.start = start

    def factor(self, batch: RolloutBatch, accuracy: float) -> Tensor:
        """Rho of what each rollout has shown before each token, [N, T]; any number in padding."""
        done = batch.completions
        shown_NT = running_confidence(done.logp_NT, done.mask_NT, self.start, self.prior)
        return applied(self.rho, shown_NT)


def applied(rho: Rho, values: Tensor) -> Tensor:
    """Rho of every number of a tensor, in its shape."""
    found = [rho(value) for value in values.flatten().tolist()]
    return values.new_tensor(found).view_as(values)
