"""Controllers of the KL coefficient; AKL is the paper's.

A controller multiplies the module's base coefficient for the batch at hand, before its loss:
Lightning shows callbacks the very batch whose rollouts have just been graded. A new rule is one
small subclass.
"""

from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fgexpo.heartbeat import EXCHANGE, phase
from fgexpo.kl import Rho, Tanh, check_rho
from fgexpo.types import RolloutBatch


class KLController(Callback):
    """Sets ``pl_module.beta = pl_module.kl_coef * factor`` for every batch."""

    @abstractmethod
    def factor(self, batch: RolloutBatch, accuracy: float) -> float | Tensor:
        """The factor for this batch.

        Args:
            batch: this process's graded rollouts.
            accuracy: share of correct rollouts of this very batch, over all processes.

        Returns:
            A positive float, or one a rollout, [N].
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Warn where there is nothing to control."""
        if stage == "fit" and getattr(pl_module, "kl_coef", None) == 0:
            rank_zero_warn(f"model.kl_coef is 0, so {type(self).__name__} has no effect")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: RolloutBatch, batch_idx: int
    ) -> None:
        """Set the coefficient of this batch from this batch."""
        # callback_metrics still holds the previous batch here, and only this process's share.
        counts = torch.stack([batch.correct_N.sum(), batch.correct_N.new_tensor(len(batch.texts))])
        with phase(EXCHANGE):
            correct, total = trainer.strategy.reduce(counts, reduce_op="sum")
        accuracy = float(correct / total)
        beta = pl_module.kl_coef * self.factor(batch, accuracy)
        pl_module.beta = beta
        mean = float(beta.mean()) if isinstance(beta, Tensor) else beta
        pl_module.log_dict({"akl/kl_coef": mean, "akl/batch_accuracy": accuracy})


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

    def factor(self, batch: RolloutBatch, accuracy: float) -> float:
        """Rho of this batch's accuracy."""
        return self.rho(accuracy)
