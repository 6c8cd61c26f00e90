"""The optimizer steps of a rollout batch.

A mini-batch's loss is normalised by a number of its own, over all processes, so that neither the
cut into micro-batches nor the number of processes changes a gradient.
"""

import math
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from ..heartbeat import beat
from ..losses import PolicyLoss, loss_metrics
from ..losses.objective import NONFINITE
from ..parallel.collectives import any_process, mean, mean_over_processes, without_gradient_sync
from ..parallel.sharding import full_tensor
from ..rollout import Sampling
from .batch import TrainingBatch
from .mismatch import DIFFERENCE, MismatchAlarm
from .nonfinite import NonFiniteUpdates, batch_record
from .rollout_loss import rollout_loss, update_denominator
from .step_metrics import policy_metrics

# Parts of the loss as it is minimised, and a count; all else is a mean or a share.
AS_SUMMED = ("loss", "policy_loss", NONFINITE)


class Learner(Protocol):
    """What the updates need of the LightningModule."""

    policy: Any

    @property
    def trainer(self) -> Trainer:
        """Of this process."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        ...

    def optimizers(self) -> Any:
        """The policy's optimizer, as Lightning wraps it."""
        ...

    def manual_backward(self, loss: Tensor) -> None:
        """Backward with the trainer's precision and strategy."""
        ...


@dataclass
class UpdateSettings:
    """How a rollout batch is learned from.

    Attributes:
        loss: the policy loss, and the settings of the other parts.
        sampling: of the rollouts: their temperature, and the constant length of ``dr_grpo``.
        inner_epochs: passes over the batch.
        max_grad_norm: limit on an update's gradient norm; None for none.
    """

    loss: PolicyLoss
    sampling: Sampling
    inner_epochs: int
    max_grad_norm: float | None


@dataclass
class Guards:
    """What may end a run in the middle of an update.

    Attributes:
        alarm: compares the engine's log-probs with the trainer's.
        logp_limit: the difference that rounding can make; None if the engine does not know.
        nonfinite: leaves out updates whose numbers are not finite.
    """

    alarm: MismatchAlarm
    logp_limit: float | None
    nonfinite: NonFiniteUpdates


class Updates:
    """Makes the optimizer steps of one rollout batch.

    Args:
        learner: whose policy is updated.
        batch: this process's rollouts.
        beta: KL coefficient in force: a float, one per rollout [N], or one per token [N, T].
        settings: how.
        guards: what may end the run.
        rollout_step: for the record of an update that was left out.
    """

    def __init__(
        self,
        learner: Learner,
        batch: TrainingBatch,
        beta: float | Tensor,
        settings: UpdateSettings,
        guards: Guards,
        rollout_step: int,
    ) -> None:
        self.learner = learner
        self.batch = batch
        self.beta = beta
        self.settings = settings
        self.guards = guards
        self.rollout_step = rollout_step

    def make(self) -> dict[str, float]:
        """Make all of them.

        Returns:
            Means over the updates that were made, and the number of those that were not; what the
            old policy says of the rollouts.

        Raises:
            EngineMismatch: when the engine did not sample from this policy.
            RuntimeError: for too many updates in a row whose numbers are not finite.
        """
        totals: dict[str, float] = defaultdict(float)
        passes = self.batch.cuts * self.settings.inner_epochs
        made, seen = 0, {}
        for number, micro_batches in enumerate(passes):
            self._optimizer().zero_grad()
            metrics = self.accumulate_gradients(micro_batches, first=number == 0)
            if number == 0:
                # Before any weight has changed.
                seen = policy_metrics(self.learner.trainer, self.batch)
                self.guards.alarm.check(seen[DIFFERENCE], self.guards.logp_limit)
            if self._step(micro_batches, number, metrics):
                made += 1
                for tag, value in metrics.items():
                    totals[tag] += value
        means = {tag: total / made for tag, total in totals.items()}
        means = mean_over_processes(self.learner.trainer, means, self.learner.device)
        return seen | means | {"nonfinite/updates": float(len(passes) - made)}

    def accumulate_gradients(self, micro_batches: list[Tensor], first: bool) -> dict[str, float]:
        """Leave an update's gradient, averaged over the processes, in the policy's parameters.

        Args:
            micro_batches: rows of each.
            first: see :func:`.rollout_loss`.

        Returns:
            The loss's parts. Their mean over the processes is that of the whole mini-batch.
        """
        trainer, settings = self.learner.trainer, self.settings
        rows = torch.cat(micro_batches)
        own = update_denominator(settings.loss, self.batch, rows, settings.sampling.max_new_tokens)
        # DDP averages gradients, so a process divides by its mean share of the whole mini-batch's.
        denominator = mean(trainer, own)
        scale = self._log_scale(rows, denominator)
        totals: dict[str, float] = defaultdict(float)
        for number, micro in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            with nullcontext() if last else without_gradient_sync(trainer):
                out = rollout_loss(
                    self.learner.policy,
                    self.batch,
                    micro,
                    beta=self.beta,
                    settings=settings.loss,
                    temperature=settings.sampling.temperature,
                    denominator=denominator,
                    first=first,
                )
                self.learner.manual_backward(out.loss)
            beat()
            for tag, value in loss_metrics(out).items():
                totals[tag] += value if tag in AS_SUMMED else value * scale
        return totals

    def _log_scale(self, rows: Tensor, denominator: float) -> float:
        """What makes means per token of the values that are logged beside the loss.

        Under ``dr_grpo`` they are summed over a constant length, as the loss is.
        """
        settings = self.settings
        if settings.loss.aggregation != "dr_grpo":
            return 1.0
        longest = settings.sampling.max_new_tokens
        own = update_denominator(settings.loss, self.batch, rows, longest, "token_mean")
        return denominator / (mean(self.learner.trainer, own) or 1.0)

    def _step(self, micro_batches: list[Tensor], number: int, metrics: dict[str, float]) -> bool:
        """One optimizer step; False if its numbers were not finite on some process."""
        learner, optimizer = self.learner, self._optimizer()
        limit = float("inf") if self.settings.max_grad_norm is None else self.settings.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(learner.policy.parameters(), limit)
        metrics["grad_norm"] = float(full_tensor(norm))
        fine = metrics[NONFINITE] == 0 and all(map(math.isfinite, metrics.values()))
        if any_process(learner.trainer, not fine):
            optimizer.zero_grad()
            rows = torch.cat(micro_batches)
            record = {**batch_record(self.batch, rows, self.beta), **metrics}
            record["rollout_step"] = self.rollout_step
            self.guards.nonfinite.leave_out(record, number, learner.trainer.global_rank)
            return False
        optimizer.step()
        self.guards.nonfinite.in_a_row = 0
        return True

    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.learner.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        return optimizer
