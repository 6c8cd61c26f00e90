"""Controllers of the KL coefficient; AKL is the paper's.

A controller scales the module's base coefficient for the current batch, before its loss is
computed: Lightning passes callbacks the batch whose rollouts were just graded. A new rule is one
small subclass.
"""

from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fgexpo.errors import UserError
from fgexpo.kl import Rho, Tanh, check_rho
from fgexpo.parallel.collectives import mean_over_processes
from fgexpo.update.batch import TrainingBatch


class KLController(Callback):
    """Sets ``pl_module.beta = pl_module.kl_coef * factor`` for every batch."""

    @abstractmethod
    def factor(self, batch: TrainingBatch, accuracy: float) -> float | Tensor:
        """The factor for this batch.

        Args:
            batch: this process's graded rollouts.
            accuracy: share of correct rollouts in this step, over all processes; rollouts that are
                not trained on count too.

        Returns:
            A positive float, or a tensor: one per rollout [N], or one per token [N, T].
        """

    def used(self, factor: float | Tensor, mean: float) -> float | Tensor:
        """What is used of a batch's factor: the factor itself, unless a subclass says otherwise.

        Args:
            factor: what :meth:`factor` gave.
            mean: its mean over the rollouts, or real tokens, of all processes.
        """
        return factor

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Warn if the base coefficient is 0.

        Raises:
            UserError: for two controllers, of which one would overwrite what the other sets.
        """
        own: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        rules = [type(callback).__name__ for callback in own if isinstance(callback, KLController)]
        if len(rules) > 1:
            raise UserError(
                f"akl and trainer.callbacks hold {' and '.join(rules)}, and each would overwrite "
                "the coefficient that another sets; keep one"
            )
        if stage == "fit" and getattr(pl_module, "kl_coef", None) == 0:
            rank_zero_warn(f"model.kl_coef is 0, so {type(self).__name__} has no effect")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        """Set this batch's coefficient from this step's accuracy."""
        # callback_metrics still holds the previous batch here. This batch's own rollouts would not
        # do either: model.refill drops some, which biases the accuracy towards 0.5.
        accuracy = batch.asked.accuracy
        factor = self.factor(batch, accuracy)
        mean = mean_factor(trainer, factor, batch)
        pl_module.beta = pl_module.kl_coef * self.used(factor, mean)
        pl_module.log("akl/kl_coef", pl_module.kl_coef * mean)
        # A copy of ``accuracy``, which the loggers have; callbacks know it by this name too.
        pl_module.log("akl/batch_accuracy", accuracy, logger=False)


def mean_factor(trainer: Trainer, factor: float | Tensor, batch: TrainingBatch) -> float:
    """The mean of a factor over the rollouts [N], or real tokens [N, T], of all processes.

    Each counts as much as in the loss: with an allocation, rollouts may have weights.

    Args:
        trainer: of this process.
        factor: of its rollouts; of the same kind on all processes.
        batch: this process's.
    """
    if not isinstance(factor, Tensor):
        return factor
    weight = torch.ones_like(batch.reward_N) if batch.weight_N is None else batch.weight_N
    if factor.ndim == 2:
        weight = weight[:, None] * batch.completions.mask_NT
    weight = weight.double()
    # Padding may hold anything.
    values = torch.where(weight > 0, factor.double(), 0.0)
    # Processes have equally many questions, but not equally many tokens.
    own = {"sum": float((weight * values).sum()), "count": float(weight.sum())}
    mean = mean_over_processes(trainer, own, trainer.strategy.root_device)
    return mean["sum"] / mean["count"]


class AKLCallback(KLController):
    """Accuracy-conditioned KL scaling (equation 4): ``beta = kl_coef * rho(accuracy)``.

    Args:
        rho: a non-decreasing function of accuracy with positive values.

    Raises:
        UserError: if rho is not.
    """

    def __init__(self, rho: Rho = Tanh()) -> None:
        check_rho(rho)
        self.rho = rho

    def factor(self, batch: TrainingBatch, accuracy: float) -> float:
        """Rho of this batch's accuracy."""
        return self.rho(accuracy)
