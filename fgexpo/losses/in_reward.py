"""The KL as a part of the reward, in the place of a term of the loss."""

from torch import Tensor

from .kl import KLPenalty, kl_estimate


class InReward(KLPenalty):
    """Takes ``beta * sum_t log(pi_old / pi_ref)`` off each rollout's reward, before advantages.

    So a token answers for the KL of all its rollout's tokens, and the mean gradient at the first
    update is that of the KL between whole completions (as in arXiv 1909.08593, section 2). The
    loss has no KL term. Verdicts, rewards as logged, and what counts as a group without a signal
    know nothing of it.

    An estimator that divides by the group's std also divides the penalty by it: in a group whose
    rewards are equal the KL alone is then as loud as a verdict, whatever beta is. ``Centred`` and
    ``BatchNormalised`` keep it in proportion.
    """

    in_reward = True

    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """K3, to be logged: the same number as the default's."""
        return kl_estimate(logp_NT.detach(), ref_logp_NT, "k3")


def kl_cost(
    old_logp_NT: Tensor, ref_logp_NT: Tensor, mask_NT: Tensor, beta: float | Tensor
) -> Tensor:
    """What a rollout's reward loses: its tokens' ``beta * log(pi_old / pi_ref)``, summed, [N].

    Args:
        old_logp_NT: log-probs of the policy that is about to be updated, [N, T].
        ref_logp_NT: log-probs of the reference, [N, T].
        mask_NT: True on completion tokens, [N, T].
        beta: the coefficient in force: a float, one per rollout [N], or one per token [N, T].
    """
    cost_NT = (old_logp_NT - ref_logp_NT).masked_fill(~mask_NT, 0.0)
    if isinstance(beta, Tensor):
        beta = beta.to(cost_NT)
        beta = beta[:, None] if beta.ndim == 1 else beta
    return (beta * cost_NT).sum(1)
