"""Checks of settings against each other, made before any weight is loaded."""

import math
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..advantages import AdvantageEstimator, every_count
from ..advantages.estimator import missing_pass_rates
from ..allocation import Allocation, Equal
from ..curriculum.data import curriculum_data, estimates
from ..errors import UserError
from ..model.lora import LoRA
from ..model.positions import PositionLimit
from ..rewards import Reward, Verifier
from ..rewards.reward import tags
from ..rollout import RolloutEngine, Sampling
from ..rollout.waves import Refill
from ..templates import PromptEncoder, Template
from .allocation import check_allocation, check_allocation_data

# A verifier that reads this needs no form of answer.
LAST_NUMBER = "last_number"
# What a prompt that asks for a form of answer has in it, in lower case.
_FORMS = ("boxed", "answer:", "<answer>")
# These find an answer in any completion.
_READ_ANY = ("first_line", "text")
_PROBE = "1 + 1"


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
    if reads is None or template.answer is None or LAST_NUMBER in reads:
        return
    forms = reads.split("_or_") if isinstance(reads, str) else reads
    if template.answer not in forms:
        raise UserError(
            f"model.template {type(template).__name__} asks for an answer in the form "
            f"{template.answer!r}, but model.verifier.reads = {reads!r}; "
            f"set model.verifier.reads={template.answer}"
        )


def missing_answer_form(prompts: PromptEncoder, verifier: Verifier) -> str | None:
    """What to say when no prompt asks for the form of answer that the verifier reads, or None.

    Not an error: a model may give that form unasked, or the questions may ask for it themselves.
    """
    template, reads = prompts.template, getattr(verifier, "reads", None)
    if reads is None or LAST_NUMBER in reads or template.answer is not None or reads in _READ_ANY:
        return None
    text = template.render(_PROBE, prompts.tokenizer).lower()
    if any(form in text for form in _FORMS):
        return None
    return (
        f"warning: model.template {type(template).__name__} asks for no form of answer, and "
        f"model.verifier.reads = {reads!r}: a model that does not answer in that form unasked "
        f"scores 0; {LAST_NUMBER!r} reads the last number of any text, and --model.template=Plain "
        "--model.template.answer=box says that the model knows the form"
    )


def tell_missing_answer_form(prompts: PromptEncoder, verifier: Verifier) -> None:
    """Say what :func:`missing_answer_form` has found, if anything."""
    missing = missing_answer_form(prompts, verifier)
    if missing is not None:
        rank_zero_info(missing)


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


def check_data(
    trainer: Trainer,
    mini_batch_questions: int | None,
    refill: Refill | None,
    advantages: AdvantageEstimator,
    allocation: Allocation = Equal(),
) -> None:
    """Check that the data module's steps are what the module's settings need.

    Args:
        trainer: with its data module.
        mini_batch_questions: questions per optimizer step; None for the whole step.
        refill: with which a step may ask for more questions.
        advantages: the estimator, which may read the questions' pass-rates.
        allocation: how rollouts are shared out among a step's questions.

    Raises:
        UserError: for mini-batches that do not fit, data that cannot be drawn again, or data
            without the pass-rates that the estimator reads.
    """
    data: Any = getattr(trainer, "datamodule", None)
    known = curriculum_data(trainer)
    check_allocation_data(trainer, allocation)
    if known is not None:
        check_mini_batches(known.questions_per_step, mini_batch_questions, trainer.world_size)
        _check_validation(trainer, getattr(getattr(data, "sampler", None), "steps_per_epoch", None))
    elif refill is not None:
        given = "no data module" if data is None else f"a {type(data).__name__}"
        raise UserError(
            "model.refill needs data that can draw more questions for a step, such as "
            f"CurriculumDataModule, got {given}"
        )
    if advantages.needs_pass_rates and estimates(data) is None:
        raise UserError(missing_pass_rates(advantages))


def _check_validation(trainer: Trainer, steps_per_epoch: int | None) -> None:
    interval = trainer.val_check_interval
    if steps_per_epoch is None or trainer.check_val_every_n_epoch is None:
        return
    if isinstance(interval, int) and interval > steps_per_epoch:
        raise UserError(
            f"trainer.val_check_interval = {interval} is more than the {steps_per_epoch} steps of "
            "an epoch; set trainer.check_val_every_n_epoch=null to count steps over all epochs"
        )


def check_dtype(dtype: str) -> None:
    """Check that the weights can be trained in this dtype.

    Raises:
        UserError: for one that loses small updates in rounding.
    """
    if dtype not in ("float32", "float64"):
        raise UserError(
            f"model.dtype = {dtype} cannot be trained: most updates of such weights are lost in "
            "rounding; set model.dtype=float32 and, for speed, trainer.precision=bf16-mixed"
        )


def check_signal(
    advantages: AdvantageEstimator,
    refill: Refill | None,
    group_size: int,
    allocation: Allocation = Equal(),
) -> None:
    """Check that some group of this size teaches the policy something.

    Raises:
        UserError: naming both settings.
    """
    advantages.check(group_size)
    check_allocation(allocation, advantages, group_size)
    if refill is not None:
        refill.check(group_size)
    if not advantages.has_signal(every_count(group_size)).any():
        raise UserError(
            f"model.group_size = {group_size} trains nothing with model.advantages "
            f"{type(advantages).__name__}: whatever the rewards are, all advantages are 0"
        )


def check_counts(**counts: int | None) -> None:
    """Check that every given setting of the model is at least 1; None stands for a default.

    Raises:
        UserError: naming the first that is not.
    """
    for setting, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"model.{setting} must be at least 1, got {value}")


def check_updates(max_grad_norm: float | None, warmup_steps: int) -> None:
    """Check the settings that scale an update.

    Raises:
        UserError: for a limit that would stop or turn round every update, or a negative warm-up.
    """
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise UserError(
            f"model.max_grad_norm must be above 0, or null for no limit, got {max_grad_norm}"
        )
    if warmup_steps < 0:
        raise UserError(f"model.warmup_steps must not be negative, got {warmup_steps}")


def check_training_draws(kl_coef: float, sampling: Sampling, engine: RolloutEngine) -> None:
    """Check that rollouts are drawn from the policy that the loss looks at.

    Raises:
        UserError: for a coefficient that is negative or not finite, greedy rollouts, or a cut that
            the engine's log-probs would show.
    """
    if kl_coef < 0 or not math.isfinite(kl_coef):
        raise UserError(f"model.kl_coef must be finite and not negative, got {kl_coef}")
    if sampling.temperature == 0:
        raise UserError("model.sampling.temperature must be above 0 to train: greedy rollouts")
    if sampling.top_k == 1:
        raise UserError("model.sampling.top_k must not be 1 to train: all rollouts are the same")
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
    """Check that there is a reward, that each can be earned, and that each has a tag of its own.

    Raises:
        UserError: naming the settings.
    """
    if not rewards:
        raise UserError("model.rewards must name at least one reward")
    tags(rewards)
    for reward in rewards:
        if not math.isfinite(reward.weight):
            raise UserError(
                f"model.rewards: {type(reward).__name__}.weight must be finite, got {reward.weight}"
            )
    if not any(reward.weight for reward in rewards):
        raise UserError("model.rewards: all weights are 0, so nothing would be learned")
    for reward in rewards:
        reward.check(max_new_tokens)
