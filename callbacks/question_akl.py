"""AKL by question: each question's own pass-rate sets how hard the reference pulls on it."""

from torch import Tensor

from fgexpo.kl import Rho, Tanh, check_rho, question_factors
from fgexpo.types import RolloutBatch

from .akl import KLController


class QuestionAKL(KLController):
    """``beta_q = kl_coef * rho(pass-rate of question q)``, for all rollouts of the question.

    The paper (arXiv 2605.11403) names it as future work; pass-rates are those of this batch.

    Args:
        rho: a non-decreasing function of the pass-rate with positive values.

    Raises:
        UserError: if rho is not.
    """

    def __init__(self, rho: Rho = Tanh()) -> None:
        check_rho(rho)
        self.rho = rho

    def factor(self, batch: RolloutBatch, accuracy: float) -> Tensor:
        """Rho of each question's pass-rate, one per rollout, [N]."""
        return question_factors(self.rho, batch.pass_rate_Q, batch.groups)
