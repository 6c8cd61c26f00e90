"""One line where a run learns nothing: no group has had a signal for some steps."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

HALF = 0.5


class NoSignal(Callback):
    """Says once that no group has had a signal for ``steps`` steps, and what to look at.

    Args:
        steps: in a row.
    """

    def __init__(self, steps: int = 5) -> None:
        self.steps = steps
        self._in_a_row = 0

    def state_dict(self) -> dict[str, Any]:
        """How many steps in a row had no signal, so that a resumed run counts on."""
        return {"in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._in_a_row = state_dict["in_a_row"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step."""
        metrics = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        silent = metrics.get("frac_reward_zero_std") == 1
        self._in_a_row = self._in_a_row + 1 if silent else 0
        if self._in_a_row == self.steps:
            rank_zero_warn(
                f"step {pl_module.rollout_step}: no group has had a signal for {self.steps} steps, "
                f"so nothing but a KL term has moved the policy: {likely_cause(metrics)}"
            )


def likely_cause(metrics: Mapping[str, float]) -> str:
    """What a step's metrics tell of why all groups' rewards are alike."""
    if metrics.get("reward/timeout_frac", 0) > HALF:
        return "most answers took the verifier too long; look at reward/timeout_frac"
    if metrics.get("completions/clipped_ratio", 0) > HALF:
        return (
            "most completions are cut off; raise model.sampling.max_new_tokens, or look at "
            "whether the model ends its turn (completions/clipped_ratio)"
        )
    if metrics.get("reward/no_answer_frac", 0) > HALF:
        return (
            "most completions hold no answer in the form that model.verifier.reads; look at "
            "model.template and at the text panel"
        )
    accuracy = metrics.get("accuracy", 0)
    if accuracy > HALF:
        return f"the questions are too easy for this model (accuracy is {accuracy:.3g})"
    return (
        f"the questions are too hard for this model (accuracy is {accuracy:.3g}); easier ones, a "
        "larger model.group_size or model.refill can help"
    )
