"""GRPO as a LightningModule: a policy, a frozen reference, the loss, and Lightning's hooks.

One step: questions become graded rollouts in ``on_after_batch_transfer``; callbacks see them in
``on_train_batch_start`` and may set ``beta``; ``training_step`` then makes the updates. Without any
callback this is plain GRPO with a constant KL coefficient.
"""

import math
import time
from collections import defaultdict
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from .advantages import AdvantageScale, group_advantages
from .checks import check_counts, check_length, check_mini_batches
from .errors import UserError
from .losses import LossSettings
from .policy import PolicyModule
from .reference import FrozenReference
from .rewards.reward import Accuracy, Reward
from .rollout import Sampling
from .scoring import apply_logprobs, apply_rewards
from .seeding import hash_seed
from .sequences import join, micro_batches, mini_batches
from .types import QuestionBatch, RolloutBatch
from .update import loss_metrics, rollout_loss, update_denominator


class GRPOModule(PolicyModule):
    """Group-relative policy optimisation with verifiable rewards.

    Args:
        name: Hugging Face folder or hub id; also the frozen reference.
        kl_coef: beta, the base KL coefficient; 0 leaves the reference out altogether.
        group_size: G, rollouts a question.
        mini_batch_questions: questions an optimizer step; null for the whole batch.
        inner_epochs: passes over each rollout batch.
        micro_batch_tokens: padded tokens a forward pass; changes memory and speed, not gradients.
        loss: clipping, KL estimator and aggregation.
        advantage_scale: see :func:`fgexpo.advantages.group_advantages`.
        advantage_unbiased: see the same.
        rewards: the parts of the reward; null for accuracy alone.
        sampling: how rollouts are drawn in training.
        optimizer: makes the optimizer from the parameters.
        warmup_steps: rollout steps over which the learning rate rises to its constant value.
        max_grad_norm: gradient norm limit of an update; null for none.
        **policy: the rest goes to :class:`PolicyModule`.

    Attributes:
        beta: the KL coefficient in force: ``kl_coef`` at the start of every batch, until a
            controller sets it to a float or to one value a rollout, [N].
    """

    def __init__(
        self,
        name: str,
        kl_coef: float = 0.02,
        group_size: int = 8,
        mini_batch_questions: int | None = None,
        inner_epochs: int = 1,
        micro_batch_tokens: int = 16384,
        loss: LossSettings = LossSettings(),
        advantage_scale: AdvantageScale = "group",
        advantage_unbiased: bool = False,
        rewards: list[Reward] | None = None,
        sampling: Sampling = Sampling(),
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-6),
        warmup_steps: int = 10,
        max_grad_norm: float | None = 1.0,
        **policy: Any,
    ) -> None:
        super().__init__(name, **policy)
        self.automatic_optimization = False
        self.kl_coef = kl_coef
        self.group_size = group_size
        self.mini_batch_questions = mini_batch_questions
        self.inner_epochs = inner_epochs
        self.micro_batch_tokens = micro_batch_tokens
        self.loss = loss
        self.advantage_scale: AdvantageScale = advantage_scale
        self.advantage_unbiased = advantage_unbiased
        self.rewards: list[Reward] = rewards if rewards is not None else [Accuracy()]
        self.sampling = sampling
        self.make_optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self._check_settings()
        self.reference: FrozenReference | None = None
        self.beta: float | Tensor = kl_coef
        self.num_tokens = 0
        self._step_started = 0.0

    def _check_settings(self) -> None:
        check_counts(
            group_size=self.group_size,
            inner_epochs=self.inner_epochs,
            micro_batch_tokens=self.micro_batch_tokens,
            mini_batch_questions=self.mini_batch_questions,
        )
        if self.advantage_unbiased and self.group_size < 2:
            raise UserError("model.advantage_unbiased needs model.group_size of at least 2")
        if self.kl_coef < 0:
            raise UserError(f"model.kl_coef must not be negative, got {self.kl_coef}")
        if self.sampling.temperature == 0:
            raise UserError("model.sampling.temperature must be above 0 to train: greedy rollouts")
        if not self.rewards:
            raise UserError("model.rewards must name at least one reward")
        check_length(
            self.max_positions(), self.prompts.max_prompt_tokens, self.sampling, "sampling"
        )

    # Set-up

    def setup(self, stage: str) -> None:
        """Check, before any weight is loaded, what depends on trainer and data.

        Raises:
            UserError: for a run length in optimizer steps, or mini-batches that do not fit.
        """
        if stage != "fit":
            return
        if self.trainer.max_steps != -1:
            raise UserError(
                f"trainer.max_steps = {self.trainer.max_steps} would count optimizer steps; "
                "leave it at -1 and give the run's length in rollout steps, --steps"
            )
        if self.trainer.world_size > 1:
            raise UserError(
                f"trainer.devices and trainer.num_nodes make {self.trainer.world_size} processes; "
                "training on more than one is not supported yet, set --trainer.devices=1"
            )
        questions = getattr(self.trainer.datamodule, "questions_per_step", None)  # pyright: ignore[reportAttributeAccessIssue]
        if questions is not None:
            check_mini_batches(questions, self.mini_batch_questions)

    def configure_model(self) -> None:
        """Open the policy and, only where a KL term will need it, the reference."""
        super().configure_model()
        if self.kl_coef > 0 and self.reference is None and self.trainer.state.fn == "fit":
            self.reference = FrozenReference(self.open_policy())

    def on_fit_start(self) -> None:
        """Bring the reference to the policy's device."""
        if self.reference is not None:
            self.reference.to(self.device)

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate that is constant after a linear warm-up."""
        optimizer = self.make_optimizer(self.policy.parameters())
        warmup = max(1, self.warmup_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / warmup)
        )
        return [optimizer], [scheduler]

    # From questions to graded, scored rollouts

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn a batch of questions into everything the loss needs."""
        if not (self.trainer.training and isinstance(batch, QuestionBatch)):
            return super().on_after_batch_transfer(batch, dataloader_idx)
        self._step_started = time.perf_counter()
        self.beta = self.kl_coef

        def seed_of(question: str, sample: int) -> int:
            return hash_seed(self.seed, self.rollout_step, question, sample)

        rollouts, verdicts = self.roll_out(batch, self.group_size, self.sampling, seed_of)
        apply_rewards(rollouts, verdicts, self.rewards)
        rollouts.advantages_N = group_advantages(
            rollouts.reward_N.view(-1, self.group_size),
            unbiased=self.advantage_unbiased,
            scale=self.advantage_scale,
        ).flatten()
        started = time.perf_counter()
        rollouts.sequences = join(batch.prompts, rollouts.completions, self.group_size)
        with self.inference():
            apply_logprobs(
                rollouts,
                self.policy,
                self.reference.model if self.reference else None,
                self.sampling.temperature,
                [m for rows in self._mini_batches(rollouts) for m in self._micro(rollouts, rows)],
            )
        rollouts.metrics["time/score"] = time.perf_counter() - started
        return rollouts

    def _mini_batches(self, rollouts: RolloutBatch) -> list[Tensor]:
        size = self.mini_batch_questions or len(rollouts.source)
        return mini_batches(len(rollouts.texts), size * self.group_size)

    def _micro(self, rollouts: RolloutBatch, rows: Tensor) -> list[Tensor]:
        assert rollouts.sequences is not None
        return micro_batches(rows, rollouts.sequences.lengths_N, self.micro_batch_tokens)

    def on_train_batch_start(self, batch: RolloutBatch, batch_idx: int) -> None:
        """Tell the curriculum what it has just learned about these questions, and log the batch."""
        observe = getattr(self.trainer.datamodule, "observe", None)  # pyright: ignore[reportAttributeAccessIssue]
        if observe is not None:
            self.log_dict(observe(batch.source.index_Q, batch.pass_rate_Q))
        self.num_tokens += int(batch.completions.lengths_N.sum())
        self.log_dict({**batch.metrics, "num_tokens": float(self.num_tokens)})

    # From rollouts to updates

    def training_step(self, batch: RolloutBatch, batch_idx: int) -> None:
        """Make the optimizer steps of one rollout batch."""
        started = time.perf_counter()
        totals: dict[str, float] = defaultdict(float)
        updates = 0
        for _ in range(self.inner_epochs):
            for rows in self._mini_batches(batch):
                for tag, value in self._update(batch, rows).items():
                    totals[tag] += value
                updates += 1
        self.log_dict({tag: total / updates for tag, total in totals.items()})
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR)
        self.log("learning_rate", scheduler.get_last_lr()[0])
        scheduler.step()
        self.engine.sync(self.policy)
        self.rollout_step += 1
        self.log("step", float(self.rollout_step))  # the loggers' x-axis
        now = time.perf_counter()
        self.log_dict({"time/update": now - started, "step_time": now - self._step_started})

    def _update(self, batch: RolloutBatch, rows: Tensor) -> dict[str, float]:
        """One optimizer step on some of the rollouts; the sums run over its micro-batches."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        optimizer.zero_grad()
        lengths_n = batch.completions.lengths_N[rows]
        denominator = update_denominator(self.loss, lengths_n, self.sampling.max_new_tokens)
        totals: dict[str, float] = defaultdict(float)
        for micro in self._micro(batch, rows):
            out = rollout_loss(
                self.policy,
                batch,
                micro,
                beta=self.beta,
                settings=self.loss,
                temperature=self.sampling.temperature,
                denominator=denominator,
            )
            self.manual_backward(out.loss)
            for tag, value in loss_metrics(out).items():
                totals[tag] += value
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), limit)
        if not math.isfinite(norm):
            raise RuntimeError(
                f"rollout step {self.rollout_step + 1}: the gradient's norm is {float(norm)}, so "
                "this update is not made; the last checkpoint is from before it"
            )
        optimizer.step()
        return {**totals, "grad_norm": float(norm)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the token counter to what every policy saves."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["fgexpo"]["num_tokens"] = self.num_tokens

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the token counter too."""
        super().on_load_checkpoint(checkpoint)
        self.num_tokens = checkpoint["fgexpo"].get("num_tokens", 0)
