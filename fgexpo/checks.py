"""Checks of settings against each other, made before any weight is loaded."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from .curriculum.data import curriculum_data
from .errors import UserError
from .model.lora import LoRA
from .model.positions import PositionLimit
from .parallel.fsdp2 import FSDP2
from .rewards import Reward, Verifier
from .rollout import RolloutEngine, Sampling
from .templates import Template

PRECISIONS = ("32-true", "64-true", "bf16-mixed")


def check_length(
    limit: PositionLimit, max_prompt_tokens: int, sampling: Sampling, setting: str
) -> None:
    """Check that the longest prompt and completion fit the model.

    Raises:
        UserError: naming both settings and the limit.
    """
    total = max_prompt_tokens + sampling.max_new_tokens
    if limit.tokens is not None and total > limit.tokens:
        raise UserError(
            f"model.max_prompt_tokens = {max_prompt_tokens} and model.{setting}.max_new_tokens = "
            f"{sampling.max_new_tokens} make {total} tokens, but {limit.reason} {limit.tokens}"
        )


def check_answer_form(template: Template, verifier: Verifier) -> None:
    """Check that the verifier reads the form of answer that the template asks for.

    Raises:
        UserError: naming both settings.
    """
    reads = getattr(verifier, "reads", None)
    if template.answer is not None and reads is not None and template.answer not in reads:
        raise UserError(
            f"model.template {type(template).__name__} asks for an answer in the form "
            f"{template.answer!r}, but model.verifier.reads = {reads!r}; "
            f"set model.verifier.reads={template.answer}"
        )


def check_mini_batches(questions_per_step: int, size: int | None, world_size: int = 1) -> None:
    """Check that mini-batches of ``size`` questions make up a step; None is the whole step.

    Raises:
        UserError: naming both settings.
    """
    if size is not None and questions_per_step % size:
        raise UserError(
            f"model.mini_batch_questions = {size} does not divide "
            f"data.questions_per_step = {questions_per_step}"
        )
    if size is not None and size % world_size:
        raise UserError(
            f"model.mini_batch_questions = {size} is not divisible by the {world_size} processes"
        )


def check_data(trainer: Trainer, mini_batch_questions: int | None, refill: bool) -> None:
    """Check that the data module's steps are what the module's settings need.

    Args:
        trainer: with its data module.
        mini_batch_questions: questions per optimizer step; None for the whole step.
        refill: whether a step may ask for more questions.

    Raises:
        UserError: for mini-batches that do not fit, or data that cannot be drawn again.
    """
    data: Any = getattr(trainer, "datamodule", None)
    known = curriculum_data(trainer)
    if known is not None:
        check_mini_batches(known.questions_per_step, mini_batch_questions, trainer.world_size)
    elif refill:
        given = "no data module" if data is None else f"a {type(data).__name__}"
        raise UserError(
            "model.refill needs data that can draw more questions for a step, such as "
            f"CurriculumDataModule, got {given}"
        )


def check_trainer(trainer: Trainer) -> None:
    """Check that the trainer counts, draws and synchronises as the module needs it to.

    Raises:
        UserError: for a run length in optimizer steps or with a minimum, Lightning's own
            distributed sampler, or a precision or strategy that is not supported.
    """
    if trainer.max_steps != -1:
        raise UserError(
            f"trainer.max_steps = {trainer.max_steps} would count optimizer steps; "
            "leave it at -1 and give the run's length in rollout steps, --steps"
        )
    if trainer.min_epochs or trainer.min_steps:
        raise UserError(
            "trainer.min_epochs and trainer.min_steps must not be set: they would keep a run from "
            "stopping when it is asked to"
        )
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision = {trainer.precision} is not supported, expected one of "
            f"{', '.join(PRECISIONS)}: float16 overflows, and updates of bf16 weights are lost in "
            "rounding"
        )
    # Lightning has no public name for it.
    if trainer._accelerator_connector.use_distributed_sampler:
        raise UserError(
            "trainer.use_distributed_sampler must be false: it would replace the curriculum's "
            "sampler by one that draws for each process on its own"
        )
    if trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy | FSDP2):
        raise UserError(
            f"trainer.strategy {type(trainer.strategy).__name__} is not supported on "
            f"{trainer.world_size} processes; use --trainer.strategy=ddp or fsdp2"
        )


def check_counts(**counts: int | None) -> None:
    """Check that every given setting of the model is at least 1; None stands for a default.

    Raises:
        UserError: naming the first that is not.
    """
    for setting, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"model.{setting} must be at least 1, got {value}")


def check_training_draws(kl_coef: float, sampling: Sampling, engine: RolloutEngine) -> None:
    """Check that rollouts are drawn from the policy that the loss looks at.

    Raises:
        UserError: for a negative coefficient, greedy rollouts, or a cut that the engine's log-probs
            would show.
    """
    if kl_coef < 0:
        raise UserError(f"model.kl_coef must not be negative, got {kl_coef}")
    if sampling.temperature == 0:
        raise UserError("model.sampling.temperature must be above 0 to train: greedy rollouts")
    if (sampling.top_p < 1 or sampling.top_k > 0) and engine.cuts_logprobs:
        raise UserError(
            f"model.sampling.top_p and top_k must be off to train with {type(engine).__name__}, "
            "whose log-probs they change"
        )


def check_lora(lora: LoRA | None, dtype: str, reference_offload: bool) -> None:
    """Check what adapters cannot be trained with.

    Raises:
        UserError: naming both settings.
    """
    if lora is None:
        return
    if reference_offload:
        raise UserError(
            "model.reference_offload has nothing to move: with model.lora the reference is the "
            "policy without its adapters"
        )
    if dtype not in ("float32", "float64"):
        raise UserError(
            f"model.lora needs model.dtype = float32, got {dtype}: the adapters have that dtype "
            "too, and their updates would be lost in rounding"
        )


def check_rewards(rewards: list[Reward], max_new_tokens: int) -> None:
    """Check that there is a reward, and that each can be earned.

    Raises:
        UserError: naming the settings.
    """
    if not rewards:
        raise UserError("model.rewards must name at least one reward")
    for reward in rewards:
        reward.check(max_new_tokens)
