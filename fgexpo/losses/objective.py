"""The GRPO objective: a policy loss, a scaled KL penalty and an entropy bonus, on plain tensors.

Equation (5) of FG-ExPO (arXiv 2605.11403): maximise ``E[J_clip] - kl_coef * E[K3]``. With a
constant ``kl_coef`` it is plain GRPO. The policy loss, the KL penalty and the engine's correction
are slots; what they have in common, one mask and one aggregation for every part, is here.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UserError
from .aggregation import Aggregation, aggregate
from .clipped import Clipped
from .kl import KLEstimator
from .policy_loss import PolicyLoss
from .ratio import Ratio, importance_ratio

NONFINITE = "nonfinite/tokens"


@dataclass
class LossOutput:
    """A loss and what it is made of; every tensor is a scalar with the same normalisation.

    Attributes:
        loss: ``policy_loss + kl_coef * KL - entropy_coef * entropy``, with gradient; without the KL
            where the penalty is not in the loss.
        policy_loss: the policy loss's part, detached.
        kl: the aggregated penalty, unscaled, detached, in the loss or not; 0 without a reference.
        clip_fraction: share of tokens whose gradient the loss cuts; under ``sequence_mean`` the
            mean of the sequences' shares.
        clip_low_fraction: those whose ratio is too low (negative advantage).
        clip_high_fraction: those whose ratio is too high (positive advantage).
        nonfinite_tokens: tokens that count and have a log-prob or an entropy that is not finite;
            a count.
        own: what the policy loss and the correction log of their own, by tag, detached.
    """

    loss: Tensor
    policy_loss: Tensor
    kl: Tensor
    clip_fraction: Tensor
    clip_low_fraction: Tensor
    clip_high_fraction: Tensor
    nonfinite_tokens: Tensor
    own: dict[str, Tensor] = field(default_factory=dict)


def objective(
    loss: PolicyLoss,
    logp_NT: Tensor,
    old_logp_NT: Tensor,
    ref_logp_NT: Tensor | None,
    advantages_N: Tensor,
    mask_NT: Tensor,
    *,
    kl_coef: float | Tensor,
    denominator: Tensor | float | None = None,
    weight_NT: Tensor | None = None,
    entropy_NT: Tensor | None = None,
    rollout_weight_N: Tensor | None = None,
) -> LossOutput:
    """Equation (5) as a loss to minimise.

    Args:
        loss: the policy loss, and the settings of the other parts.
        logp_NT: log-probs of the policy, with gradient, [N, T].
        old_logp_NT: log-probs of the policy before the rollout batch's first update, [N, T].
        ref_logp_NT: log-probs of the reference, [N, T]; None leaves the KL out.
        advantages_N: [N].
        mask_NT: True on the tokens that count, [N, T]; what stands elsewhere is ignored, even NaN.
        kl_coef: the coefficient in force: a float, one per rollout [N], or one per token [N, T].
        denominator: see :func:`aggregate`.
        weight_NT: factors of the policy loss's tokens, [N, T]; None for 1.
        entropy_NT: entropies of the policy, with gradient, [N, T]; None leaves them out.
        rollout_weight_N: how much each rollout counts, in every part of the loss, [N]; None for 1.
            The denominator must count them so too.
    """
    mask_NT = mask_NT.bool()

    def reduce(values_NT: Tensor) -> Tensor:
        if rollout_weight_N is not None:
            values_NT = rollout_weight_N[:, None] * values_NT
        return aggregate(values_NT, mask_NT, loss.aggregation, denominator)

    ratio_NT = importance_ratio(logp_NT, old_logp_NT, mask_NT, loss.ratio)
    inside_NT = torch.where(mask_NT, logp_NT, 0.0)
    policy_NT = loss.policy_loss(ratio_NT, inside_NT, advantages_N)
    if weight_NT is not None:
        policy_NT = policy_NT * torch.where(mask_NT, weight_NT, 0.0)
    policy_loss = reduce(policy_NT)
    total, kl = policy_loss, torch.zeros_like(policy_loss)
    if ref_logp_NT is not None:
        penalty, token_NT = loss.penalty(), ratio_NT
        if loss.ratio == "sequence":  # a penalty is each token's own
            token_NT = importance_ratio(logp_NT, old_logp_NT, mask_NT)
        kl_NT = penalty.penalty(inside_NT, torch.where(mask_NT, ref_logp_NT, 0.0), token_NT)
        kl = reduce(kl_NT)
        if not penalty.in_reward:
            total = total + (kl_coef * kl if _is_scalar(kl_coef) else reduce(_rows(kl_coef, kl_NT)))
    if entropy_NT is not None:
        total = total - loss.entropy_coef * reduce(entropy_NT)
    moved_NT = ratio_NT.detach()
    low, high = (reduce(cut_NT.to(moved_NT)) for cut_NT in loss.clipped(moved_NT, advantages_N))
    own = {
        tag: reduce(values_NT)
        for tag, values_NT in _own_metrics(loss, moved_NT, advantages_N, weight_NT).items()
    }
    # The clip can hide them: an infinite ratio's gradient may be cut to zero.
    given = [x for x in (logp_NT, old_logp_NT, ref_logp_NT, entropy_NT) if x is not None]
    finite_NT = torch.stack([x.detach().isfinite() for x in given]).all(0)
    nonfinite = (mask_NT & ~finite_NT).sum()
    parts = (policy_loss.detach(), kl.detach(), low + high, low, high, nonfinite)
    return LossOutput(total, *parts, own=own)


def _is_scalar(coefficient: float | Tensor) -> bool:
    return not isinstance(coefficient, Tensor) or coefficient.ndim == 0


def _own_metrics(
    loss: PolicyLoss, ratio_NT: Tensor, advantages_N: Tensor, weight_NT: Tensor | None
) -> dict[str, Tensor]:
    """What the policy loss and the engine's correction log of their own, [N, T] each."""
    found, correction = loss.metrics(ratio_NT, advantages_N), loss.engine_correction()
    if correction is None or weight_NT is None:
        return found
    return found | correction.metrics(weight_NT)


def _rows(coefficient: float | Tensor, kl_NT: Tensor) -> Tensor:
    """The penalty of each token, scaled by its own or its rollout's coefficient, [N, T]."""
    assert isinstance(coefficient, Tensor)
    coefficient = coefficient.to(kl_NT)
    return (coefficient[:, None] if coefficient.ndim == 1 else coefficient) * kl_NT


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
    """:func:`objective` with the paper's policy loss, its settings given one by one.

    See there for the tensors, and :class:`~fgexpo.losses.Clipped` for the settings.

    Raises:
        UserError: on settings out of range.
    """
    loss = Clipped(
        clip_low,
        clip_high,
        dual_clip,
        kl_estimator=kl_estimator,
        aggregation=aggregation,
        ratio=ratio,
        entropy_coef=entropy_coef,
    )
    return objective(
        loss,
        logp_NT,
        old_logp_NT,
        ref_logp_NT,
        advantages_N,
        mask_NT,
        kl_coef=kl_coef,
        denominator=denominator,
        weight_NT=weight_NT,
        entropy_NT=entropy_NT,
    )


def loss_metrics(out: LossOutput) -> dict[str, float]:
    """The parts of a loss under TensorBoard tags.

    Raises:
        UserError: when a loss of one's own would log over another's tag.
    """
    found = {
        "loss": float(out.loss.detach()),
        "policy_loss": float(out.policy_loss),
        "kl": float(out.kl),
        "clip_ratio/low_mean": float(out.clip_low_fraction),
        "clip_ratio/high_mean": float(out.clip_high_fraction),
        "clip_ratio/region_mean": float(out.clip_fraction),
        NONFINITE: float(out.nonfinite_tokens),
    }
    for tag, value in out.own.items():
        if tag in found:
            raise UserError(f"model.loss logs {tag!r}, which is another value's tag; rename it")
        found[tag] = float(value)
    return found
