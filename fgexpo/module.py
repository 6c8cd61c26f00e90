"""GRPO as a LightningModule: a policy, a frozen reference, the loss, and Lightning's hooks.

One step: questions become graded rollouts in ``on_after_batch_transfer``; callbacks see them in
``on_train_batch_start`` and may set ``beta``; ``training_step`` then makes the updates. Without any
callback this is plain GRPO with a constant KL coefficient.
"""

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from .advantages.group import AdvantageScale
from .checks import check_data, check_settings, check_trainer, check_transfer
from .files import run_folder
from .heartbeat import phase
from .losses.objective import LossSettings
from .model.loading import on_cpu
from .parallel.balance import balance
from .parallel.collectives import gather_columns
from .parallel.sharding import place
from .policy import PolicyModule
from .rewards.reward import Accuracy, Reward
from .robustness.out_of_memory import explain_micro_batches
from .robustness.same_run import (
    Change,
    Fact,
    check_same_run,
    fingerprint_model,
    fingerprint_template,
)
from .rollout import Sampling
from .rollout.waves import Refill, ask
from .types import QuestionBatch, RolloutBatch
from .update.micro_batches import split
from .update.mismatch import TAG, MismatchAlarm
from .update.nonfinite import NonFiniteUpdates
from .update.prepare import score_rollouts
from .update.reference import AdapterOff, FrozenReference, Reference
from .update.step import make_updates
from .update.step_metrics import policy_columns, summarise, summarise_policy


class GRPOModule(PolicyModule):
    """Group-relative policy optimisation with verifiable rewards.

    Args:
        name: Hugging Face folder or hub id; also the frozen reference.
        kl_coef: beta, the base KL coefficient; 0 leaves the reference out altogether.
        group_size: G, rollouts a question.
        mini_batch_questions: questions an optimizer step; null for the whole batch.
        inner_epochs: passes over each rollout batch.
        micro_batch_tokens: tokens a forward pass; changes memory and speed, not gradients.
        reference_offload: the reference rests in the host's memory between scorings.
        loss: clipping, KL estimator and aggregation.
        advantage_scale: see :func:`fgexpo.advantages.group.group_advantages`.
        advantage_unbiased: see the same.
        rewards: the parts of the reward; null for accuracy alone.
        sampling: how rollouts are drawn in training.
        refill: ask again while groups have no signal; null trains on whatever was asked.
        optimizer: makes the optimizer from the parameters.
        warmup_steps: rollout steps over which the learning rate rises to its constant value.
        max_grad_norm: gradient norm limit of an update; null for none.
        max_nonfinite_updates: updates in a row that are left out because a loss, gradient or
            log-prob is not finite, before the run stops.
        allow_changes: differences from the run that a checkpoint comes from which are meant:
            ``model``, ``template``, ``group_size``, ``pool``, ``questions_per_step``.
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
        reference_offload: bool = False,
        loss: LossSettings = LossSettings(),
        advantage_scale: AdvantageScale = "group",
        advantage_unbiased: bool = False,
        rewards: list[Reward] | None = None,
        sampling: Sampling = Sampling(),
        refill: Refill | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-6),
        warmup_steps: int = 10,
        max_grad_norm: float | None = 1.0,
        max_nonfinite_updates: int = 3,
        allow_changes: list[Change] | None = None,
        **policy: Any,
    ) -> None:
        super().__init__(name, **policy)
        self.automatic_optimization = False
        self.kl_coef = kl_coef
        self.group_size = group_size
        self.mini_batch_questions = mini_batch_questions
        self.inner_epochs = inner_epochs
        self.micro_batch_tokens = micro_batch_tokens
        self.reference_offload = reference_offload
        self.loss = loss
        self.advantage_scale: AdvantageScale = advantage_scale
        self.advantage_unbiased = advantage_unbiased
        self.rewards: list[Reward] = rewards if rewards is not None else [Accuracy()]
        self.sampling = sampling
        self.refill = refill
        self.make_optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.nonfinite = NonFiniteUpdates(max_nonfinite_updates)
        self.allow_changes: list[Change] = allow_changes or []
        check_settings(self)
        self.reference: Reference | None = None
        self.beta: float | Tensor = kl_coef
        self.alarm = MismatchAlarm()
        self.num_tokens = self.num_rollouts = 0
        self._step_started = 0.0
        self._folder = Path()
        self._facts: dict[str, Fact] = {}

    # Set-up

    def setup(self, stage: str) -> None:
        """Check, before any weight is loaded, what depends on trainer and data.

        Raises:
            UserError: for a trainer or data that would not do, or mini-batches that do not fit.
        """
        if stage != "fit":
            return
        check_trainer(self.trainer)
        check_transfer(self)
        check_data(self)
        self._folder = run_folder(self.trainer) / "nonfinite"

    def configure_model(self) -> None:
        """Open the policy and, only where a KL term will need it, the reference."""
        super().configure_model()
        if self.kl_coef == 0 or self.reference is not None or self.trainer.state.fn != "fit":
            return
        if self.lora is not None:
            self.reference = AdapterOff(self.policy)
        else:
            with on_cpu():
                model = self.open_policy()
            model = place(model, self.trainer, self.reference_offload)
            self.reference = FrozenReference(model, self.reference_offload)

    def opened(self, policy: nn.Module) -> None:
        """Note what the run begins with."""
        self._facts = {
            "model": fingerprint_model(policy),
            "template": fingerprint_template(self.prompts),
            "group_size": self.group_size,
        }

    def on_fit_start(self) -> None:
        """Bring the reference to where the policy is."""
        if self.reference is not None:
            self.reference.settle(self.device)

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate that is constant after a linear warm-up."""
        trained = [weight for weight in self.policy.parameters() if weight.requires_grad]
        optimizer = self.make_optimizer(trained)
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
        rollouts, asked = ask(self, batch)
        self.engine.rest()
        started = time.perf_counter()
        rollouts = balance(self.trainer, rollouts, self.questions_per_update(rollouts))
        rollouts.asked = asked  # only now: it need not travel with every question
        score_rollouts(self, rollouts)
        rollouts.seconds["time/score"] = time.perf_counter() - started
        return rollouts

    def longest(self) -> int:
        """Of training and evaluation."""
        own = self.prompts.max_prompt_tokens + self.sampling.max_new_tokens
        return max(own, super().longest())

    def questions_per_update(self, rollouts: RolloutBatch) -> int:
        """Questions of an optimizer step on this process."""
        size = self.mini_batch_questions
        return len(rollouts.source) if size is None else size // self.trainer.world_size

    def mini_batches(self, rollouts: RolloutBatch) -> list[Tensor]:
        """This process's rows of each optimizer step."""
        return split(len(rollouts.texts), self.questions_per_update(rollouts) * self.group_size)

    def on_train_batch_start(self, batch: RolloutBatch, batch_idx: int) -> None:
        """Tell the curriculum what it has just learned about these questions, and log the batch."""
        asked = batch.asked
        assert asked is not None
        observe = getattr(self.trainer.datamodule, "observe", None)  # pyright: ignore[reportAttributeAccessIssue]
        if observe is not None:
            self.log_dict(observe(asked.index_A, asked.pass_rate_A))
        columns = gather_columns(self.trainer, batch.columns, self.group_size)
        metrics = summarise(columns, asked)
        metrics["frac_kl_only"] = metrics["frac_reward_zero_std"] if self.reference else 0.0
        self.num_tokens += asked.tokens
        self.num_rollouts += asked.rollouts
        metrics["num_tokens"], metrics["num_rollouts"] = self.num_tokens, self.num_rollouts
        if self.refill is not None:
            metrics |= self.refill.metrics(asked)
        self.log_dict({**metrics, **batch.seconds})

    # From rollouts to updates

    def training_step(self, batch: RolloutBatch, batch_idx: int) -> None:
        """Make the optimizer steps of one rollout batch."""
        started = time.perf_counter()
        with phase("update"), explain_micro_batches("updating on", self.micro_batch_tokens):
            self.log_dict(make_updates(self, batch))
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR)
        self.log("learning_rate", scheduler.get_last_lr()[0])
        scheduler.step()
        with phase("sync"):
            self.engine.sync(self.policy)
        self.rollout_step += 1
        self.log("step", float(self.rollout_step))  # the loggers' x-axis
        now = time.perf_counter()
        self.log_dict({"time/update": now - started, "step_time": now - self._step_started})

    def check_engine(self, batch: RolloutBatch) -> None:
        """Log how the policy differs from the engine that sampled, before any weight has changed.

        Raises:
            EngineMismatch: for more than rounding.
        """
        columns = gather_columns(self.trainer, policy_columns(batch), self.group_size)
        metrics = summarise_policy(columns)
        self.log_dict(metrics)
        self.alarm.check(metrics[TAG], self.engine.logp_limit())

    def leave_out(self, record: dict[str, Any], update: int) -> None:
        """Keep the batch of an update that was not made, and count it."""
        step = self.rollout_step + 1
        name = f"step={step:06d}-update={update}-rank={self.global_rank}.pt"
        record |= {"beta": self.beta, "rollout_step": step}
        self.nonfinite.leave_out(record, self._folder / name)

    # State

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the counters and what the run is made of to what every policy saves."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["fgexpo"] |= {
            "num_tokens": self.num_tokens,
            "num_rollouts": self.num_rollouts,
            "usual_difference": self.alarm.usual,
            "nonfinite_in_a_row": self.nonfinite.in_a_row,
            "facts": self._facts,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters too, once this is known to be the same run.

        Raises:
            UserError: when the checkpoint's run had another model, template or group size.
        """
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["fgexpo"]
        if self.trainer.state.fn == "fit":
            check_same_run(saved.get("facts", {}), self._facts, self.allow_changes)
        self.num_tokens = saved.get("num_tokens", 0)
        self.num_rollouts = saved.get("num_rollouts", 0)
        self.alarm.usual = saved.get("usual_difference")
        self.nonfinite.in_a_row = saved.get("nonfinite_in_a_row", 0)
