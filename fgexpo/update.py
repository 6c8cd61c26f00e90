"""The loss of some rows of a rollout batch, with the normalisation of their whole mini-batch."""

from torch import Tensor, nn

from .logprobs import completion_logprobs
from .losses import LossOutput, LossSettings, grpo_loss
from .types import RolloutBatch


def update_denominator(settings: LossSettings, lengths_n: Tensor, max_new_tokens: int) -> float:
    """What a mini-batch's summed loss is divided by; its micro-batches all use this number.

    Args:
        settings: the aggregation.
        lengths_n: completion tokens of each row of the mini-batch.
        max_new_tokens: the constant length of ``dr_grpo``.
    """
    if settings.aggregation == "token_mean":
        return float(lengths_n.sum())
    constant = max_new_tokens if settings.aggregation == "dr_grpo" else 1
    return float(len(lengths_n) * constant)


def rollout_loss(
    policy: nn.Module,
    batch: RolloutBatch,
    rows: Tensor,
    *,
    beta: float | Tensor,
    settings: LossSettings,
    temperature: float,
    denominator: float,
) -> LossOutput:
    """GRPO loss of a micro-batch, to be added up over those of its mini-batch.

    Args:
        policy: with gradient.
        batch: with sequences, advantages and log-probs set.
        rows: which rollouts.
        beta: KL coefficient in force, a float or one value a rollout, [N].
        settings: the loss's shape.
        temperature: of the rollouts.
        denominator: see :func:`update_denominator`.
    """
    assert batch.sequences is not None and batch.old_logp_NT is not None
    part = batch.sequences.select(rows)
    logp_nT, _ = completion_logprobs(policy, part, temperature)
    reference_NT = batch.ref_logp_NT
    return grpo_loss(
        logp_nT,
        batch.old_logp_NT[rows],
        None if reference_NT is None else reference_NT[rows],
        batch.advantages_N[rows],
        part.mask_NT,
        kl_coef=beta[rows] if isinstance(beta, Tensor) and beta.ndim else beta,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        dual_clip=settings.dual_clip,
        kl_estimator=settings.kl_estimator,
        aggregation=settings.aggregation,
        denominator=denominator,
    )


def loss_metrics(out: LossOutput) -> dict[str, float]:
    """The parts of a loss under TensorBoard tags."""
    return {
        "loss": float(out.loss.detach()),
        "policy_loss": float(out.policy_loss),
        "kl": float(out.kl),
        "clip_ratio/low_mean": float(out.clip_low_fraction),
        "clip_ratio/high_mean": float(out.clip_high_fraction),
        "clip_ratio/region_mean": float(out.clip_fraction),
    }
