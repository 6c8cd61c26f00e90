"""A run's reference: made as its settings say, moved after its steps, saved and restored."""

from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from ..model.loading import on_cpu
from ..parallel.fsdp2 import FSDP2
from .reference import AdapterOff, FrozenReference, Reference
from .reference_update import ReferenceUpdate


def check(update: ReferenceUpdate | None, kl_coef: float) -> None:
    """Check that there is a reference to move.

    Raises:
        UserError: naming both settings.
    """
    if update is not None and kl_coef == 0:
        raise UserError(
            f"model.reference_update is {type(update).__name__}, but with model.kl_coef = 0 there "
            "is no reference; set one or the other"
        )


def opened(learner: Any) -> Reference:
    """The reference as the run begins, before any weight has changed.

    Args:
        learner: a :class:`~fgexpo.module.GRPOModule` that has opened its policy.
    """
    if learner.lora is not None:
        return AdapterOff(learner.policy, learner.reference_update is not None)
    offload = learner.reference_offload
    with on_cpu():
        model = learner.open_policy()
    return FrozenReference(learner.preparation.reference(model, learner.trainer, offload), offload)


def move(learner: Any, metrics: Mapping[str, float]) -> dict[str, float]:
    """Let the rule, if there is one, move the reference; give back scalars to log.

    Args:
        learner: after the updates of a rollout step.
        metrics: what they have logged, the same on all processes.
    """
    update, reference = learner.reference_update, learner.reference
    if update is None or reference is None:
        return {}
    return update.after_step(reference, learner, learner.rollout_step + 1, metrics.get("kl"))


def state(learner: Any) -> dict[str, Any]:
    """What a checkpoint holds of it: nothing, unless it was moved or a rule may move it."""
    found: dict[str, Any] = {}
    if learner.reference is not None and learner.reference.moved:
        strategy = learner.trainer.strategy
        in_slices = isinstance(strategy, FSDP2) and strategy.hands_slices
        keep = learner.trainer.is_global_zero
        found["reference"] = learner.reference.state_dict(keep, in_slices)
    if learner.reference_update is not None:
        found["reference_update"] = learner.reference_update.state_dict()
    return found


def restore(learner: Any, saved: Mapping[str, Any]) -> None:
    """Restore it from what :func:`state` has left.

    A checkpoint from before there was such a rule holds nothing: then it is what it was at the
    start. One that was moved comes back even where no rule moves it any further.
    """
    if learner.reference is not None and "reference" in saved:
        learner.reference.load_state_dict(saved["reference"])
    if learner.reference_update is not None:
        learner.reference_update.load_state_dict(saved.get("reference_update", {}))
