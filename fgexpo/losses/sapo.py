"""SAPO: a soft gate in the place of the clip (soft adaptive policy optimisation, 2511.20347)."""

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .policy_loss import PolicyLoss


class SAPO(PolicyLoss):
    """``-f(r) A`` with the gate ``f(r) = 4 / tau * sigmoid(tau (r - 1))``.

    The gate's slope is ``4 s (1 - s)`` with s the sigmoid, which is 1 at ``r = 1`` and falls to 0
    on both sides, whichever way the advantage pushes. So the gradient is the unclipped one times
    that slope, and A grad log pi at ratio 1. A larger tau narrows the gate. The paper's mean of
    sequence means is ``aggregation: sequence_mean``.

    Args:
        tau_positive: of positive advantages, above 0.
        tau_negative: of negative advantages, above 0; the paper's is a little larger, since
            lowering one token raises all others.
        **shared: the settings of every loss, see :class:`PolicyLoss`.
    """

    def __init__(
        self,
        tau_positive: float = 1.0,
        tau_negative: float = 1.05,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        for setting, tau in {"tau_positive": tau_positive, "tau_negative": tau_negative}.items():
            if not (tau > 0 and math.isfinite(tau)):
                raise UserError(f"model.loss.{setting} must be above 0 and finite, got {tau}")
        self.tau_positive = tau_positive
        self.tau_negative = tau_negative

    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """Minus gate times advantage."""
        tau_N1 = self._tau(advantages_N)
        gate_NT = 4 / tau_N1 * torch.sigmoid(tau_N1 * (ratio_NT - 1))
        return -gate_NT * advantages_N[:, None]

    def metrics(self, ratio_NT: Tensor, advantages_N: Tensor) -> dict[str, Tensor]:
        """The share of the unclipped gradient that the gate takes, by the advantage's sign."""
        taken_NT = 1 - gate_slope(ratio_NT, self._tau(advantages_N))
        advantages_N1 = advantages_N[:, None]
        return {
            "sapo/attenuated_positive": torch.where(advantages_N1 > 0, taken_NT, 0.0),
            "sapo/attenuated_negative": torch.where(advantages_N1 < 0, taken_NT, 0.0),
        }

    def _tau(self, advantages_N: Tensor) -> Tensor:
        """Each rollout's temperature, [N, 1]."""
        taus_N = torch.where(advantages_N > 0, self.tau_positive, self.tau_negative)
        return taus_N.to(advantages_N)[:, None]


def gate_slope(ratio_NT: Tensor, tau_N1: Tensor) -> Tensor:
    """``4 s (1 - s)`` with ``s = sigmoid(tau (r - 1))``: in (0, 1], and 1 at ratio 1, [N, T]."""
    s_NT = torch.sigmoid(tau_N1 * (ratio_NT - 1))
    return 4 * s_NT * (1 - s_NT)
