"""The slot of the policy loss: what a token costs, given how far the policy has moved on it.

A new loss is one small class: subclass :class:`PolicyLoss`, return a loss per token, name it in
YAML. The KL term, the entropy bonus, the aggregation and the engine's correction are the
objective's (:mod:`fgexpo.losses.objective`); their settings stand beside the loss's own, so that
every loss has them.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, get_args

import torch
from torch import Tensor

from ..errors import UserError
from .aggregation import Aggregation
from .correction import Correction, CorrectionLevel, Truncated
from .estimated import ESTIMATORS
from .kl import KLEstimator, KLPenalty
from .ratio import Ratio


class PolicyLoss(ABC):
    """A loss per token; the settings here are those of every loss.

    Args:
        kl_estimator: per-token estimator of KL(policy || reference).
        aggregation: mean over all tokens of the mini-batch, mean of sequence means, or sum over
            a constant length (Dr. GRPO).
        correction: importance weights for engine against trainer, per ``token`` or ``sequence``;
            ``off``; or a :class:`~fgexpo.losses.Correction`.
        correction_cap: what the weights are truncated at.
        ratio: what is compared with the old policy: each ``token``, or the ``sequence`` as a
            whole. The latter with ``sequence_mean`` is GSPO (arXiv 2507.18071), whose clip range,
            3e-4 below and 4e-4 above, is that of a mean over tokens.
        entropy_coef: times the entropy of the policy at the sampling temperature, per token, is
            taken off the loss; any finite number, of which a negative one lowers the entropy.
        mask_truncated: leave completions that met the token limit out of the loss and of what it
            is divided by (DAPO's overlong filtering, arXiv 2503.14476); their rewards still count
            in their groups' advantages.
        kl: a :class:`~fgexpo.losses.KLPenalty`; null for ``kl_estimator``.

    Raises:
        UserError: naming the setting that is out of range.
    """

    # Here too, so that a loss with an __init__ of its own need not call this one.
    kl_estimator: KLEstimator = "k3"
    aggregation: Aggregation = "token_mean"
    correction: CorrectionLevel | Correction = "off"
    correction_cap: float = 2.0
    ratio: Ratio = "token"
    entropy_coef: float = 0.0
    mask_truncated: bool = False
    kl: KLPenalty | None = None

    def __init__(
        self,
        *,
        kl_estimator: KLEstimator = kl_estimator,
        aggregation: Aggregation = aggregation,
        correction: CorrectionLevel | Correction = correction,
        correction_cap: float = correction_cap,
        ratio: Ratio = ratio,
        entropy_coef: float = entropy_coef,
        mask_truncated: bool = mask_truncated,
        kl: KLPenalty | None = kl,
    ) -> None:
        _check_choice("kl_estimator", kl_estimator, KLEstimator)
        _check_choice("aggregation", aggregation, Aggregation)
        _check_choice("ratio", ratio, Ratio)
        if not isinstance(correction, Correction):
            _check_choice("correction", correction, CorrectionLevel)
        if not correction_cap >= 1:
            raise UserError(f"model.loss.correction_cap must be at least 1, got {correction_cap}")
        if isinstance(correction, Correction) and correction_cap != PolicyLoss.correction_cap:
            raise UserError(
                f"model.loss.correction_cap = {correction_cap} is not read by "
                f"model.loss.correction {type(correction).__name__}, which has settings of its "
                "own; leave it out"
            )
        if not math.isfinite(entropy_coef):
            raise UserError(f"model.loss.entropy_coef must be finite, got {entropy_coef}")
        if kl is not None and kl_estimator != PolicyLoss.kl_estimator:
            raise UserError(
                f"model.loss.kl is {type(kl).__name__} and model.loss.kl_estimator is "
                f"{kl_estimator}: give one of the two"
            )
        self.kl_estimator = kl_estimator
        self.aggregation = aggregation
        self.correction = correction
        self.correction_cap = correction_cap
        self.ratio = ratio
        self.entropy_coef = entropy_coef
        self.mask_truncated = mask_truncated
        self.kl = kl

    @abstractmethod
    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """The loss of each token, to be minimised, [N, T]; what padding gets is ignored.

        Args:
            ratio_NT: policy over old policy, of tokens or sequences, with gradient, [N, T].
            logp_NT: log-probs of the policy, with gradient, [N, T].
            advantages_N: [N].
        """

    def clipped(self, ratio_NT: Tensor, advantages_N: Tensor) -> tuple[Tensor, Tensor]:
        """Where the loss cuts the gradient, for ratios too low and too high: bool [N, T] each.

        They are logged as ``clip_ratio/*``. Nowhere, unless a subclass says otherwise.
        """
        nowhere_NT = torch.zeros_like(ratio_NT, dtype=torch.bool)
        return nowhere_NT, nowhere_NT

    def metrics(self, ratio_NT: Tensor, advantages_N: Tensor) -> dict[str, Tensor]:
        """More per-token values to log, [N, T] each, by tag; averaged as the loss is."""
        return {}

    def penalty(self) -> KLPenalty:
        """The KL penalty in force."""
        return self.kl if self.kl is not None else ESTIMATORS[self.kl_estimator]()

    def engine_correction(self) -> Correction | None:
        """The correction in force; None if it is off."""
        if isinstance(self.correction, Correction):
            return self.correction
        if self.correction == "off":
            return None
        return Truncated(self.correction, self.correction_cap)


def _check_choice(setting: str, value: Any, choice: Any) -> None:
    if value not in get_args(choice):
        raise UserError(f"model.loss.{setting} must be one of {get_args(choice)}, got {value!r}")
