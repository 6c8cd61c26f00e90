"""The control of a finer AKL: as much pull in all, spread evenly."""

from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from fgexpo.errors import UserError
from fgexpo.update.batch import TrainingBatch

from .akl import AKLCallback, KLController
from .target_kl import TargetKL


class Matched(KLController):
    """All rollouts and tokens of a batch get the mean of the factors that a rule would give them.

    The mean is over the rollouts of all processes, or over their real tokens for a rule by token.
    What the rule gains over this control, it gains by where it pulls, not by how much. The rule
    goes on learning from the run, and its state is in the checkpoint.

    Args:
        rule: a controller with a factor per rollout or token, such as :class:`TokenAKL`.

    Raises:
        UserError: for a rule with one factor a batch, which has nothing to spread.
    """

    def __init__(self, rule: KLController) -> None:
        if isinstance(rule, AKLCallback | TargetKL | Matched):
            raise UserError(
                f"akl.rule: {type(rule).__name__} has one factor for the whole batch, so that "
                "Matched would be no control of it; use a Constant rho with its mean factor"
            )
        self.rule = rule

    def factor(self, batch: TrainingBatch, accuracy: float) -> float | Tensor:
        """The rule's own."""
        return self.rule.factor(batch, accuracy)

    def used(self, factor: float | Tensor, mean: float) -> float:
        """The mean."""
        return mean

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The rule's."""
        self.rule.on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The rule's, in which it may learn how the step went."""
        self.rule.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    @property
    def state_key(self) -> str:
        """With the rule's name: another rule's state is of no use."""
        return self._generate_state_key(rule=self.rule.state_key)

    def state_dict(self) -> dict[str, Any]:
        """The rule's."""
        return self.rule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rule."""
        self.rule.load_state_dict(state_dict)
