"""What GRPO and supervised learning share: a policy that samples, is graded and is evaluated."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from .checks.deterministic import Deterministic, check_deterministic
from .checks.model import check_policy
from .checks.settings import check_answer_form, check_dtype, check_length, tell_missing_answer_form
from .checks.trainer import check_trainer, on_gpu
from .errors import RunStopped
from .evaluation import EvaluationSettings
from .evaluation.evaluator import Evaluator
from .evaluation.unread import UnreadAnswers
from .groups import Groups
from .heartbeat import phase
from .model.hf_folder import ModelArchive
from .model.loading import load_config, load_end_ids, load_model, load_tokenizer, on_cpu
from .model.lora import LoRA, check_same_adapters
from .model.positions import PositionLimit, position_limit
from .model.precision import precise
from .parallel.collectives import any_process, check_same_step
from .parallel.prepared import Kernels, Preparation
from .parallel.sharding import is_sharded, whole
from .rewards import MathVerifier, Verifier
from .rewards.grading import grade
from .robustness.out_of_memory import explain_memory
from .robustness.same_run import Allowed, Fact, check_same_run
from .rollout import Native, RolloutEngine, RolloutRequest, Sampling
from .seeding import hash_seed
from .templates import Plain, PromptEncoder, Template
from .types import QuestionBatch, RolloutBatch
from .update.nonfinite import nonfinite_weight
from .update.quick_log import QuickLog


class PolicyModule(QuickLog):
    """A causal LM with its tokenizer, rollout engine and verifier; evaluated by pass@k.

    Args:
        name: Hugging Face folder or hub id of the model to start from.
        template: how a question becomes a prompt.
        engine: samples the completions.
        verifier: decides whether they are right.
        max_prompt_tokens: longer prompts are dropped, and counted in the log.
        evaluation: how validation and test sample.
        dtype: of the weights in memory; training needs ``float32``, for ``bf16-mixed`` too.
        lora: train adapters beside frozen weights; null trains all weights.
        activation_checkpointing: recompute a layer's activations in the backward pass: less
            memory, about a third more time.
        kernels: ``liger`` for fused norms, rotary embeddings and MLPs on a GPU (extra ``liger``).
        compile_layers: scoring and updating go through ``torch.compile``, layer by layer.
        deterministic: two runs on a GPU are equal bit for bit; slower. On a CPU they always are.
        seed: of all rollouts.

    Attributes:
        policy: the causal LM, from ``configure_model`` on.
        rollout_step: training batches finished; the x-axis of every curve.
        facts: what a run is made of; its checkpoints hold them, and resume none that differs.
        allow_changes: names of facts that may differ.

    Raises:
        UserError: for a missing folder, a tokenizer without eos, lengths that cannot fit.
    """

    def __init__(
        self,
        name: str,
        template: Template = Plain(),
        engine: RolloutEngine = Native(),
        verifier: Verifier = MathVerifier(),
        max_prompt_tokens: int = 1024,
        evaluation: EvaluationSettings = EvaluationSettings(),
        dtype: str = "float32",
        lora: LoRA | None = None,
        activation_checkpointing: bool = False,
        kernels: Kernels = "none",
        compile_layers: bool = False,
        deterministic: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.name = name
        self.engine = engine
        self.verifier = verifier
        self.evaluation = evaluation
        self.dtype_name = dtype
        self.lora = lora
        self.preparation = Preparation(kernels, compile_layers, activation_checkpointing)
        self.deterministic = deterministic
        self.seed = seed
        self.rollout_step = 0
        self.policy: Any = None  # made in configure_model
        tokenizer = self.open_tokenizer()
        self.prompts = PromptEncoder(tokenizer, template, max_prompt_tokens, self.end_ids())
        self.archive = ModelArchive()
        self.evaluator = Evaluator(evaluation)
        self.unread = UnreadAnswers(verifier)
        self.facts: dict[str, Fact] = {}
        self.allow_changes: list[Allowed] = []
        check_answer_form(template, verifier)
        check_length(
            self.max_positions(), max_prompt_tokens, evaluation.sampling, "evaluation.sampling"
        )

    def configure_callbacks(self) -> list[Any]:
        """What the settings add. It is Lightning's first hook, so they are checked here."""
        assert self.trainer.state.fn is not None
        self.check_stage(str(self.trainer.state.fn.value))
        return [Deterministic()] if self.deterministic else []

    def check_stage(self, stage: str) -> None:
        """Check what ``fit``, ``validate``, ``test`` or ``predict`` needs of trainer and settings.

        Raises:
            UserError: naming the setting.
        """
        check_trainer(self.trainer, stage)
        self.preparation.check(self.model_type(), on_gpu(self.trainer))
        if stage == "fit":
            check_dtype(self.dtype_name)
            check_deterministic(self.deterministic, self.engine)
        tell_missing_answer_form(self.prompts, self.verifier)

    # A subclass that does not start from a folder overrides these.

    def open_tokenizer(self) -> Any:
        """The tokenizer of ``name``."""
        return load_tokenizer(self.name)

    def max_positions(self) -> PositionLimit:
        """The model's longest sequence."""
        return position_limit(load_config(self.name))

    def model_type(self) -> str:
        """The architecture's name in ``config.json``."""
        return load_config(self.name).model_type

    def end_ids(self) -> list[int]:
        """Ids at which the model's ``generation_config.json`` ends a completion."""
        return load_end_ids(self.name)

    def longest(self) -> int:
        """The most tokens of a prompt with its completion."""
        return self.prompts.max_prompt_tokens + self.evaluation.sampling.max_new_tokens

    def open_policy(self) -> nn.Module:
        """The weights to start from."""
        return load_model(self.name, self.dtype_name)

    def configure_model(self) -> None:
        """Load the policy, once for all of Lightning's stages."""
        if self.policy is not None:
            return
        with on_cpu():
            policy: Any = self.open_policy()
            check_policy(policy, self.engine)
            self.opened(policy)
        self.policy = self.preparation.policy(policy, self.trainer, self.lora, self.seed)

    def opened(self, policy: nn.Module) -> None:
        """Hook: the weights are loaded on every process, and nothing has been added yet."""

    def on_train_start(self) -> None:
        """Check that all processes have resumed at the same step."""
        check_same_step(self.trainer, self.rollout_step)

    def together(self) -> bool:
        """Whether all processes must generate at the same time."""
        return self.engine.collective or is_sharded(self.policy)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Disable gradients, set eval mode, use the trainer's precision, which batch hooks lack.

        Without the precision, log-probs made in a hook differ from those of the training step.
        """
        training = self.policy.training
        self.policy.eval()
        try:
            with torch.no_grad(), self.trainer.precision_plugin.forward_context():
                yield
        finally:
            self.policy.train(training)

    def roll_out(
        self,
        batch: QuestionBatch,
        seeds: list[list[int]],
        sampling: Sampling,
        setting: str = "model.sampling",
    ) -> RolloutBatch:
        """Sample and verify completions.

        Args:
            batch: Q questions.
            seeds: of each one's rollouts; there may be more of one than of another.
            sampling: how to draw them.
            setting: name of the setting behind ``sampling``, for error messages.
        """
        started, groups = time.perf_counter(), Groups([len(own) for own in seeds])
        request = RolloutRequest(
            prompts=batch.prompts,
            seeds=seeds,
            sampling=sampling,
            stop_ids=self.prompts.stop_ids,
            device=self.device,
            longest=self.longest(),
            stop_strings=self.prompts.stop_strings,
        )
        with (
            phase(f"generate by {type(self.engine).__name__}"),
            explain_memory(
                f"sampling {groups} rollouts of up to {sampling.max_new_tokens} tokens",
                *self.engine.memory_settings,
                f"{setting}.max_new_tokens",
            ),
            self.inference(),
            nullcontext() if self.engine.collective else whole(self.policy),
        ):
            completions = self.engine.generate(self.policy, request)
        # All that is made of rollouts follows this dtype; an engine may compute in a lower one.
        dtype = precise(next(self.policy.parameters()).dtype)
        completions.logp_NT = completions.logp_NT.to(dtype)
        sampled = time.perf_counter()
        rollouts = grade(batch, groups, completions, self.prompts, self.verifier)
        rollouts.seconds["time/generate"] = sampled - started
        rollouts.seconds["reward/seconds"] = time.perf_counter() - sampled
        return rollouts

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn questions into graded rollouts, outside training."""
        if isinstance(batch, QuestionBatch) and not self.trainer.training:
            return self._evaluate(batch)
        return batch

    def _evaluate(self, batch: QuestionBatch) -> RolloutBatch | QuestionBatch:
        settings = self.evaluation
        asked = self.evaluator.still_to_ask(batch)
        if self.together() and any_process(self.trainer, bool(len(asked))):
            # Another process has a question left and waits for this one to take part.
            asked = asked if len(asked) else batch.select([0])
        if not len(asked):
            return asked
        # No step in the seed: two evaluations of one run differ only by the policy.
        start, numbers = (self.seed, "evaluation", batch.dataset), range(settings.rollouts)
        seeds = [[hash_seed(*start, q.id, number) for number in numbers] for q in asked.questions]
        return self.roll_out(asked, seeds, settings.sampling, "model.evaluation.sampling")

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count what the questions' samples are worth."""
        if isinstance(batch, RolloutBatch):
            self.evaluator.add(batch)
            self.unread.look(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/<dataset>/pass@k`` and the other scores."""
        self._log_scores("val", self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count what the questions' samples are worth."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log ``test/<dataset>/pass@k`` and the other scores."""
        self._log_scores("test", self.trainer.test_dataloaders)

    def predict_step(self, batch: RolloutBatch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Return graded rollouts, for callbacks that save them."""
        return batch

    def _log_scores(self, stage: str, loaders: Any) -> None:
        for loader in loaders if isinstance(loaders, list) else [loaders]:
            name = loader.dataset.name
            found = self.evaluator.close(name, loader.dataset.questions)
            tagged = {f"{stage}/{name}/{tag}": score for tag, score in found.items()}
            # All processes have the same scores; sync_dist tells Lightning so.
            self.log("step", float(self.rollout_step), sync_dist=True)  # the loggers' x-axis
            self.log_dict(tagged, sync_dist=True)
        self.unread.tell(self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the counter and the seed, and what an export needs besides the weights.

        Raises:
            RunStopped: when a weight is not finite; nothing is saved then.
        """
        weight = nonfinite_weight(self.policy)
        if any_process(self.trainer, weight is not None):
            raise RunStopped(
                f"rollout step {self.rollout_step}: policy weight "
                f"{weight or 'on another process'} is not finite, so nothing is saved"
            )
        checkpoint["fgexpo"] = {
            "seed": self.seed,
            "rollout_step": self.rollout_step,
            "files": self.archive.files(self.policy, self.prompts.tokenizer),
            "lora": None if self.lora is None else asdict(self.lora),
            "facts": self.facts,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counter and, in training, the run's first seed.

        Raises:
            UserError: when the checkpoint's adapters or, in training, its facts differ from this
                policy's.
        """
        saved = checkpoint["fgexpo"]
        check_same_adapters(saved.get("lora"), self.lora)
        if self.trainer.state.fn == "fit":
            check_same_run(saved.get("facts", {}), self.facts, self.allow_changes)
            self.seed = saved["seed"]
        self.rollout_step = saved["rollout_step"]
