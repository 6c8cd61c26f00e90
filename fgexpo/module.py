"""GRPO as a LightningModule: a policy, a reference, the loss, and Lightning's hooks.

One step: questions become graded rollouts in ``on_after_batch_transfer``; callbacks see them in
``on_train_batch_start`` and may set ``beta``; ``training_step`` then makes the updates. Without any
callback this is plain GRPO with a constant KL coefficient.
"""

import time
from functools import partial
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from .advantages import AdvantageEstimator, AdvantageScale, choose_estimator
from .allocation import Allocation, Equal, rollout_weights
from .checks.kl_in_reward import check_kl_in_reward
from .checks.optimizer import try_optimizer
from .checks.settings import (
    check_counts,
    check_data,
    check_length,
    check_lora,
    check_rewards,
    check_signal,
    check_training_draws,
    check_updates,
)
from .checks.trainer import check_rollout_trainer
from .curriculum.data import curriculum_data
from .files import run_folder
from .heartbeat import phase
from .losses import Clipped, PolicyLoss
from .parallel.balance import balance
from .parallel.sharding import shards
from .policy import PolicyModule
from .rewards.grading import apply_rewards
from .rewards.reward import Accuracy, Reward
from .robustness.out_of_memory import explain_micro_batches
from .robustness.same_run import Allowed, check_changes, fingerprints
from .rollout import Sampling
from .rollout.rounds import roll_out_in_rounds
from .rollout.waves import Refill, ask
from .seeding import hash_seed
from .types import QuestionBatch, RolloutBatch
from .update import moving
from .update.batch import TrainingBatch
from .update.counts import Counts
from .update.judge import what_is_known
from .update.kl_in_reward import charge_kl
from .update.mismatch import MismatchAlarm
from .update.nonfinite import NonFiniteUpdates
from .update.prepare import prepare, score
from .update.reference import Reference
from .update.reference_update import ReferenceUpdate
from .update.step import Guards, Updates, UpdateSettings
from .update.step_metrics import log_once, rollout_metrics


class GRPOModule(PolicyModule):
    """Group-relative policy optimisation with verifiable rewards.

    Args:
        name: Hugging Face folder or hub id; also the reference at first.
        kl_coef: beta, the base KL coefficient; 0 leaves the reference out altogether.
        group_size: G, rollouts per question; with an allocation other than equal, on average.
        allocation: how many rollouts each question of a wave gets.
        mini_batch_questions: questions per optimizer step; null for the whole batch.
        inner_epochs: passes over each rollout batch.
        micro_batch_tokens: tokens per forward pass; changes memory and speed, not gradients.
        reference_offload: the reference rests in the host's memory between scorings.
        reference_update: moves the reference; null leaves it at the weights of the start.
        loss: the policy loss, with the KL estimator, aggregation and correction beside it.
        advantages: rewards to advantages; null for the one that the next two settings name.
        advantage_scale: divide by the std of the group or the batch, or by nothing.
        advantage_unbiased: divide the variance by G - 1 (verl) instead of G (the paper).
        rewards: the parts of the reward; null for accuracy alone.
        sampling: how rollouts are drawn in training.
        refill: ask again while groups have no signal; null trains on whatever was asked.
        optimizer: makes the optimizer from the parameters.
        warmup_steps: rollout steps over which the learning rate rises to its constant value.
        max_grad_norm: gradient norm limit of an update; null for none.
        max_nonfinite_updates: updates in a row left out as not finite, before the run stops.
        allow_changes: differences from the run that a checkpoint comes from which are meant:
            ``model``, ``template``, ``group_size``, ``pool``, ``questions_per_step``.
        **policy: the rest goes to :class:`PolicyModule`.

    Attributes:
        beta: the KL coefficient in force: ``kl_coef`` at the start of every batch, until a rule
            sets another: a float, one per rollout [N], or one per token [N, T].
    """

    def __init__(
        self,
        name: str,
        kl_coef: float = 0.02,
        group_size: int = 8,
        allocation: Allocation = Equal(),
        mini_batch_questions: int | None = None,
        inner_epochs: int = 1,
        micro_batch_tokens: int = 16384,
        reference_offload: bool = False,
        reference_update: ReferenceUpdate | None = None,
        loss: PolicyLoss = Clipped(),
        advantages: AdvantageEstimator | None = None,
        advantage_scale: AdvantageScale = "group",
        advantage_unbiased: bool = False,
        rewards: list[Reward] | None = None,
        sampling: Sampling = Sampling(),
        refill: Refill | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-6),
        warmup_steps: int = 10,
        max_grad_norm: float | None = 1.0,
        max_nonfinite_updates: int = 3,
        allow_changes: list[Allowed] | None = None,
        **policy: Any,
    ) -> None:
        super().__init__(name, **policy)
        self.automatic_optimization = False
        self.kl_coef = kl_coef
        self.group_size = group_size
        self.allocation = allocation
        self.mini_batch_questions = mini_batch_questions
        self.inner_epochs = inner_epochs
        self.micro_batch_tokens = micro_batch_tokens
        self.reference_offload = reference_offload
        self.reference_update = reference_update
        self.loss = loss
        self.advantages = choose_estimator(advantages, advantage_scale, advantage_unbiased)
        self.rewards: list[Reward] = rewards if rewards is not None else [Accuracy()]
        self.sampling = sampling
        self.refill = refill
        self.make_optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.nonfinite = NonFiniteUpdates(max_nonfinite_updates)
        self.allow_changes = allow_changes or []
        self._check_settings()
        self.reference: Reference | None = None
        self.beta: float | Tensor = kl_coef
        self.alarm, self.counts = MismatchAlarm(), Counts()
        self._step_started = 0.0

    # Set-up

    def _check_settings(self) -> None:
        """Check the settings against each other, before any weight is loaded."""
        check_counts(
            group_size=self.group_size,
            inner_epochs=self.inner_epochs,
            micro_batch_tokens=self.micro_batch_tokens,
            mini_batch_questions=self.mini_batch_questions,
            max_nonfinite_updates=self.nonfinite.limit,
        )
        check_changes(self.allow_changes)
        check_signal(self.advantages, self.refill, self.group_size, self.allocation)
        check_kl_in_reward(self.loss, self.advantages, self.kl_coef, self.group_size)
        moving.check(self.reference_update, self.kl_coef)
        check_training_draws(self.kl_coef, self.sampling, self.engine)
        check_updates(self.max_grad_norm, self.warmup_steps)
        check_lora(self.lora, self.dtype_name, self.reference_offload)
        check_rewards(self.rewards, self.sampling.max_new_tokens)
        check_length(
            self.max_positions(), self.prompts.max_prompt_tokens, self.sampling, "sampling"
        )

    def check_stage(self, stage: str) -> None:
        """Check what training needs of trainer and optimizer too."""
        super().check_stage(stage)
        if stage == "fit":
            check_rollout_trainer(self.trainer)
            self.facts |= try_optimizer(self.make_optimizer, warmup_steps=self.warmup_steps)

    def setup(self, stage: str) -> None:
        """Check, before any weight is loaded, what depends on the data.

        Raises:
            UserError: for data that would not do, or mini-batches that do not fit.
        """
        if stage != "fit":
            return
        self.engine.check_weights(self.lora is not None, shards(self.trainer))
        slots = (self.refill, self.advantages, self.allocation)
        check_data(self.trainer, self.mini_batch_questions, *slots)
        self.nonfinite.folder = run_folder(self.trainer) / "nonfinite"

    def configure_model(self) -> None:
        """Open the policy and, only where a KL term will need it, the reference."""
        super().configure_model()
        if self.kl_coef != 0 and self.reference is None and self.trainer.state.fn == "fit":
            self.reference = moving.opened(self)

    def opened(self, policy: nn.Module) -> None:
        """Note what the run begins with."""
        self.facts |= fingerprints(policy, self.prompts) | {"group_size": self.group_size}

    def on_fit_start(self) -> None:
        """Bring the reference to where the policy is."""
        if self.reference is not None:
            self.reference.settle(self.device)

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate that is constant after a linear warm-up."""
        trained = [weight for weight in self.policy.parameters() if weight.requires_grad]
        optimizer, warmup = self.make_optimizer(trained), max(1, self.warmup_steps)
        return [optimizer], [LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))]

    # From questions to graded, scored rollouts

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn a batch of questions into everything the loss needs."""
        if not (self.trainer.training and isinstance(batch, QuestionBatch)):
            return super().on_after_batch_transfer(batch, dataloader_idx)
        self._step_started = time.perf_counter()
        self.beta = self.kl_coef
        data = curriculum_data(self.trainer)
        rollouts, asked = ask(
            self.trainer, batch, self._roll_out_wave, self.advantages.has_signal, data, self.refill
        )
        self.engine.rest()
        started = time.perf_counter()
        questions, tokens = self.questions_per_update(rollouts), self.micro_batch_tokens
        rollouts = balance(self.trainer, rollouts, questions)
        training = prepare(
            self.trainer,
            rollouts,
            asked,
            self.advantages,
            what_is_known(self.trainer, rollouts, data),
            self.policy,
            questions_per_update=questions,
            micro_batch_tokens=tokens,
            weight_N=rollout_weights(self.allocation.weigh, rollouts.groups, self.group_size),
        )
        with phase("score"), explain_micro_batches("scoring", tokens), self.inference():
            temperature, all_rows = self.sampling.temperature, self.loss.penalty().in_reward
            score(training, self.policy, self.reference, temperature, self.device, all_rows)
        training.seconds["time/score"] = time.perf_counter() - started
        return training

    def _roll_out_wave(self, questions: QuestionBatch) -> RolloutBatch:
        """This process's rollouts of one wave, rewarded."""
        rollouts = roll_out_in_rounds(
            self.trainer,
            questions.to(self.device),
            self.allocation,
            self.group_size,
            partial(self.roll_out, sampling=self.sampling),
            partial(hash_seed, self.seed, self.rollout_step),
            curriculum_data(self.trainer),
            self.together(),
        )
        apply_rewards(rollouts, self.rewards)
        return rollouts

    def longest(self) -> int:
        """Of training and evaluation."""
        own = self.prompts.max_prompt_tokens + self.sampling.max_new_tokens
        return max(own, super().longest())

    def questions_per_update(self, rollouts: RolloutBatch) -> int:
        """Questions of an optimizer step on this process."""
        size = self.mini_batch_questions
        return len(rollouts.source) if size is None else size // self.trainer.world_size

    def on_train_batch_start(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Tell the curriculum what it has just learned about these questions, and log the batch."""
        asked, data = batch.asked, curriculum_data(self.trainer)
        if data is not None:
            self.log_dict(data.observe(asked.index_A, asked.pass_rate_A))
        self.unread.look_at_step(self.trainer, batch)
        metrics = rollout_metrics(self.trainer, batch, self.advantages)
        if self.refill is not None:
            metrics |= self.refill.metrics(asked)
        metrics |= self.allocation.metrics(asked, self.group_size)
        metrics |= charge_kl(self.trainer, batch, self.loss, self.beta, self.advantages)
        log_once(self, {**metrics, **self.counts.add(asked), **batch.seconds})

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Make the optimizer steps of one rollout batch."""
        started = time.perf_counter()
        settings = UpdateSettings(self.loss, self.sampling, self.inner_epochs, self.max_grad_norm)
        guards = Guards(self.alarm, self.engine.logp_limit(), self.nonfinite)
        updates = Updates(self, batch, self.beta, settings, guards, self.rollout_step + 1)
        with phase("update"), explain_micro_batches("updating on", self.micro_batch_tokens):
            metrics = updates.make()
        self.log_dict({**metrics, **moving.move(self, metrics)})
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        self.log("learning_rate", scheduler.get_last_lr()[0])
        scheduler.step()
        with phase("sync"):
            self.engine.sync(self.policy)
        self.rollout_step += 1
        self.log("step", float(self.rollout_step))  # the loggers' x-axis
        now = time.perf_counter()
        self.log_dict({"time/update": now - started, "step_time": now - self._step_started})

    # State

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the counters and what the run is made of to what every policy saves."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["fgexpo"] |= {
            **self.counts.state_dict(),
            **moving.state(self),
            "usual_difference": self.alarm.usual,
            "nonfinite_in_a_row": self.nonfinite.in_a_row,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters too, once this is known to be the same run."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["fgexpo"]
        self.counts.load_state_dict(saved)
        moving.restore(self, saved)
        self.alarm.usual = saved.get("usual_difference")
        self.nonfinite.in_a_row = saved.get("nonfinite_in_a_row", 0)
