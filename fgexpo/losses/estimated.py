"""KL penalties in the loss: the number, its gradient and the importance ratio are three choices."""

from typing import get_args

from torch import Tensor

from ..errors import UserError
from .kl import KLEstimator, KLPenalty, kl_estimate


class Estimated(KLPenalty):
    """A penalty whose value is one estimator's and whose gradient is another's.

    Args:
        value: which estimate is logged and, times beta, part of the loss's value.
        gradient: which estimate's gradient the policy gets; null for that of ``value``.
        importance: weigh each token by policy over old policy. From the second update of a rollout
            batch on the policy is no longer the one that sampled, and without these weights every
            gradient is biased. They correct a token given those before it, not what came before.
    """

    def __init__(
        self,
        value: KLEstimator = "k1",
        gradient: KLEstimator | None = "k2",
        importance: bool = False,
    ) -> None:
        for setting, choice in {"value": value, "gradient": gradient or value}.items():
            if choice not in get_args(KLEstimator):
                raise UserError(
                    f"model.loss.kl.{setting} must be one of {get_args(KLEstimator)}, "
                    f"got {choice!r}"
                )
        self.value: KLEstimator = value
        self.gradient: KLEstimator = gradient or value
        self.importance = importance

    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """The estimate, with the gradient that was chosen for it."""
        weights_NT = ratio_NT if self.importance else None
        pulling_NT = weighted_estimate(logp_NT, ref_logp_NT, weights_NT, self.gradient)
        if self.value == self.gradient:
            return pulling_NT
        value_NT = weighted_estimate(logp_NT, ref_logp_NT, weights_NT, self.value)
        return value_NT.detach() + (pulling_NT - pulling_NT.detach())


class K1(Estimated):
    """``log(pi / ref)``: unbiased as a number, but its own gradient has zero mean.

    Args:
        importance: see :class:`Estimated`; with it the gradient is the KL's.
    """

    def __init__(self, importance: bool = False) -> None:
        super().__init__("k1", None, importance)


class K2(Estimated):
    """``log(pi / ref)^2 / 2``, whose gradient is on average the KL's, while its value is not.

    Args:
        importance: see :class:`Estimated`.
    """

    def __init__(self, importance: bool = False) -> None:
        super().__init__("k2", None, importance)


class K3(Estimated):
    """Equation (3), the paper's: unbiased as a number, never negative.

    Args:
        importance: see :class:`Estimated`; with it the gradient is the KL's.
    """

    def __init__(self, importance: bool = False) -> None:
        super().__init__("k3", None, importance)


ESTIMATORS: dict[KLEstimator, type[KLPenalty]] = {"k1": K1, "k2": K2, "k3": K3}


def weighted_estimate(
    logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor | None, estimator: KLEstimator
) -> Tensor:
    """An estimate times the importance ratio, where there is one, [N, T].

    The mean of ``r k`` over the old policy's tokens is that of k over the policy's own. K1's and
    K3's is the KL, so its gradient, through r and through k, is the KL's. K2's is another number;
    what is right about K2 is its own gradient at fixed tokens, so there r is held.
    """
    estimate_NT = kl_estimate(logp_NT, ref_logp_NT, estimator)
    if ratio_NT is None:
        return estimate_NT
    return (ratio_NT.detach() if estimator == "k2" else ratio_NT) * estimate_NT
