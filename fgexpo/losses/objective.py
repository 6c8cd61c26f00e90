"""The GRPO loss: a clipped policy-gradient surrogate plus a scaled KL penalty, on plain tensors.

Equations (2), (3) and (5) of FG-ExPO (arXiv 2605.11403): maximise
``E[min(r A, clip(r, 1 - low, 1 + high) A)] - kl_coef * E[K3]`` with ``r = pi / pi_old`` and
``K3 = pi_ref / pi - log(pi_ref / pi) - 1`` per token. With a constant ``kl_coef`` it is plain GRPO.
We differ from the paper in two clip bounds and the dual clip of the DAPO recipe, and in offering
GSPO's ratio of a whole sequence and an entropy bonus, both off by default.
"""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from ..errors import UserError
from .aggregation import Aggregation, aggregate
from .clipped import Ratio, clipped_tokens, importance_ratio, surrogate_loss
from .correction import Correction
from .kl import KLEstimator, kl_estimate


@dataclass
class LossSettings:
    """The shape of the loss.

    Attributes:
        clip_low: how far below 1 the ratio may push, in (0, 1).
        clip_high: how far above 1 the ratio may push, above 0.
        dual_clip: caps the loss of a negative advantage at ``dual_clip * |A|``; above 1, or None.
        kl_estimator: per-token estimator of KL(policy || reference).
        aggregation: mean over all tokens of the mini-batch, mean of sequence means, or sum over
            a constant length (Dr. GRPO).
        correction: importance weights for engine against trainer, a ``token`` or ``sequence``, or
            ``off``.
        correction_cap: what the weights are truncated at.
        ratio: what is compared with the old policy and clipped: each ``token``, or the
            ``sequence`` as a whole. The latter with ``sequence_mean`` is GSPO (arXiv 2507.18071),
            whose clip range, 3e-4 below and 4e-4 above, is that of a mean over tokens.
        entropy_coef: times the entropy of the policy at the sampling temperature, per token, is
            taken off the loss; any finite number, of which a negative one lowers the entropy.
        mask_truncated: leave completions that met the token limit out of the loss and of what it
            is divided by (DAPO's overlong filtering, arXiv 2503.14476); their rewards still count
            in their groups' advantages.
    """

    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float | None = 10.0
    kl_estimator: KLEstimator = "k3"
    aggregation: Aggregation = "token_mean"
    correction: Correction = "off"
    correction_cap: float = 2.0
    ratio: Ratio = "token"
    entropy_coef: float = 0.0
    mask_truncated: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.clip_low < 1:
            raise UserError(f"model.loss.clip_low must be in (0, 1), got {self.clip_low}")
        if not self.clip_high > 0:
            raise UserError(f"model.loss.clip_high must be above 0, got {self.clip_high}")
        if self.dual_clip is not None and not self.dual_clip > 1:
            raise UserError(f"model.loss.dual_clip must be above 1 or null, got {self.dual_clip}")
        if not self.correction_cap >= 1:
            raise UserError(
                f"model.loss.correction_cap must be at least 1, got {self.correction_cap}"
            )
        if not math.isfinite(self.entropy_coef):
            raise UserError(f"model.loss.entropy_coef must be finite, got {self.entropy_coef}")
        choices = {
            "kl_estimator": KLEstimator,
            "aggregation": Aggregation,
            "correction": Correction,
            "ratio": Ratio,
        }
        for setting, choice in choices.items():
            value = getattr(self, setting)
            if value not in get_args(choice):
                raise UserError(
                    f"model.loss.{setting} must be one of {get_args(choice)}, got {value!r}"
                )


@dataclass
class LossOutput:
    """A loss and what it is made of; every tensor is a scalar with the same normalisation.

    Attributes:
        loss: ``policy_loss + kl_coef * KL - entropy_coef * entropy``, with gradient.
        policy_loss: the surrogate's part, detached.
        kl: the aggregated estimator, unscaled, detached; 0 without a reference.
        clip_fraction: share of tokens whose gradient the ratio clip cuts; under ``sequence_mean``
            the mean of the sequences' shares.
        clip_low_fraction: those cut at the lower bound (negative advantage).
        clip_high_fraction: those cut at the upper bound (positive advantage).
        nonfinite_tokens: tokens that count and have a log-prob or an entropy that is not finite;
            a count.
    """

    loss: Tensor
    policy_loss: Tensor
    kl: Tensor
    clip_fraction: Tensor
    clip_low_fraction: Tensor
    clip_high_fraction: Tensor
    nonfinite_tokens: Tensor


def grpo_loss(
    logp_NT: Tensor,
    old_logp_NT: Tensor,
    ref_logp_NT: Tensor | None,
    advantages_N: Tensor,
    mask_NT: Tensor,
    *,
    kl_coef: float | Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
    kl_estimator: KLEstimator = "k3",
    aggregation: Aggregation = "token_mean",
    denominator: Tensor | float | None = None,
    weight_NT: Tensor | None = None,
    ratio: Ratio = "token",
    entropy_NT: Tensor | None = None,
    entropy_coef: float = 0.0,
) -> LossOutput:
    """Equation (5) as a loss to minimise.

    Args:
        logp_NT: log-probs of the policy, with gradient, [N, T].
        old_logp_NT: log-probs of the policy before the rollout batch's first update, [N, T].
        ref_logp_NT: log-probs of the frozen reference, [N, T]; None leaves the KL out.
        advantages_N: [N].
        mask_NT: True on the tokens that count, [N, T]; what stands elsewhere is ignored, even NaN.
        kl_coef: the coefficient in force, one float or one value a rollout, [N].
        clip_low: see :class:`LossSettings`, as the next four.
        clip_high: upper clip distance.
        dual_clip: cap for negative advantages.
        kl_estimator: ``k1``, ``k2`` or ``k3``.
        aggregation: ``token_mean``, ``sequence_mean`` or ``dr_grpo``.
        denominator: see :func:`aggregate`.
        weight_NT: importance weights of the surrogate's tokens, [N, T]; None for 1.
        ratio: ``token`` or ``sequence``.
        entropy_NT: entropies of the policy, with gradient, [N, T]; None leaves them out.
        entropy_coef: of the entropies' aggregate, which is taken off the loss.

    Raises:
        UserError: on settings out of range.
    """
    # Made for its checks.
    LossSettings(clip_low, clip_high, dual_clip, kl_estimator, aggregation, ratio=ratio)
    mask_NT = mask_NT.bool()

    def reduce(values_NT: Tensor) -> Tensor:
        return aggregate(values_NT, mask_NT, aggregation, denominator)

    ratio_NT = importance_ratio(logp_NT, old_logp_NT, mask_NT, ratio)
    policy_NT = surrogate_loss(ratio_NT, advantages_N, clip_low, clip_high, dual_clip)
    if weight_NT is not None:
        policy_NT = policy_NT * torch.where(mask_NT, weight_NT, 0.0)
    policy_loss = reduce(policy_NT)
    loss, kl = policy_loss, torch.zeros_like(policy_loss)
    if ref_logp_NT is not None:
        kl_NT = kl_estimate(
            torch.where(mask_NT, logp_NT, 0.0), torch.where(mask_NT, ref_logp_NT, 0.0), kl_estimator
        )
        kl = reduce(kl_NT)
        if isinstance(kl_coef, Tensor) and kl_coef.ndim == 1:
            loss = loss + reduce(kl_coef.to(kl_NT)[:, None] * kl_NT)
        else:
            loss = loss + kl_coef * kl
    if entropy_NT is not None:
        loss = loss - entropy_coef * reduce(entropy_NT)
    low, high = map(reduce, clipped_tokens(ratio_NT, advantages_N, clip_low, clip_high))
    # The clip can hide them: an infinite ratio's gradient may be cut to zero.
    given = [x for x in (logp_NT, old_logp_NT, ref_logp_NT, entropy_NT) if x is not None]
    finite_NT = torch.stack([x.detach().isfinite() for x in given]).all(0)
    nonfinite = (mask_NT & ~finite_NT).sum()
    return LossOutput(loss, policy_loss.detach(), kl.detach(), low + high, low, high, nonfinite)


def loss_metrics(out: LossOutput) -> dict[str, float]:
    """The parts of a loss under TensorBoard tags."""
    return {
        "loss": float(out.loss.detach()),
        "policy_loss": float(out.policy_loss),
        "kl": float(out.kl),
        "clip_ratio/low_mean": float(out.clip_low_fraction),
        "clip_ratio/high_mean": float(out.clip_high_fraction),
        "clip_ratio/region_mean": float(out.clip_fraction),
        NONFINITE: float(out.nonfinite_tokens),
    }


NONFINITE = "nonfinite/tokens"
