"""Checks of settings against each other, made before any weight is loaded."""

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from .errors import UserError
from .identity import check_changes
from .rewards import Verifier
from .rewards.overlong import Overlong
from .rewards.reward import Reward
from .rollout import Sampling
from .rollout.transfer import NCCLTransfer
from .strategies import FSDP2
from .templates import Template

if TYPE_CHECKING:
    from .module import GRPOModule


PRECISIONS = ("32-true", "64-true", "bf16-mixed")


def check_length(
    max_positions: int | None, max_prompt_tokens: int, sampling: Sampling, setting: str
) -> None:
    """Check that the longest prompt and completion fit the model.

    Raises:
        UserError: naming both settings and the limit.
    """
    total = max_prompt_tokens + sampling.max_new_tokens
    if max_positions is not None and total > max_positions:
        raise UserError(
            f"model.max_prompt_tokens = {max_prompt_tokens} and model.{setting}.max_new_tokens = "
            f"{sampling.max_new_tokens} make {total} tokens, but the model's limit is "
            f"{max_positions}"
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


def check_data(module: "GRPOModule") -> None:
    """Check that the data module's steps are what the module's settings need.

    Raises:
        UserError: for mini-batches that do not fit, or data that cannot be drawn again.
    """
    data = getattr(module.trainer, "datamodule", None)
    questions = getattr(data, "questions_per_step", None)
    if questions is not None:
        check_mini_batches(questions, module.mini_batch_questions, module.trainer.world_size)
    if module.refill is not None and not hasattr(data, "more_questions"):
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


def check_transfer(module: "GRPOModule") -> None:
    """Check that a server can take the policy's weights as they lie in memory.

    Raises:
        UserError: for adapters or sharded weights, which would be sent as they are.
    """
    if not isinstance(getattr(module.engine, "transfer", None), NCCLTransfer):
        return
    for setting, there in (
        ("model.lora", module.lora is not None),
        ("trainer.strategy = fsdp2", isinstance(module.trainer.strategy, FSDP2)),
    ):
        if there:
            raise UserError(
                f"model.engine: VLLMServer cannot take over weights with {setting}; use VLLM"
            )


def check_overlong(rewards: list[Reward], max_new_tokens: int) -> None:
    """Check that completions can get as long as a punishment of their length expects.

    Raises:
        UserError: naming both settings.
    """
    for reward in rewards:
        if isinstance(reward, Overlong) and reward.max_tokens > max_new_tokens:
            raise UserError(
                f"model.rewards: Overlong.max_tokens = {reward.max_tokens} is above "
                f"model.sampling.max_new_tokens = {max_new_tokens}, so that no completion would "
                f"get its full punishment; set it to at most {max_new_tokens}"
            )


def check_counts(**counts: int | None) -> None:
    """Check that every given setting of the model is at least 1; None stands for a default.

    Raises:
        UserError: naming the first that is not.
    """
    for setting, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"model.{setting} must be at least 1, got {value}")


def check_settings(module: "GRPOModule") -> None:
    """Check a module's settings against each other.

    Raises:
        UserError: naming the first that is out of range.
    """
    check_counts(
        group_size=module.group_size,
        inner_epochs=module.inner_epochs,
        micro_batch_tokens=module.micro_batch_tokens,
        mini_batch_questions=module.mini_batch_questions,
        max_nonfinite_updates=module.nonfinite.limit,
    )
    check_changes(module.allow_changes)
    if module.advantage_unbiased and module.group_size < 2:
        raise UserError("model.advantage_unbiased needs model.group_size of at least 2")
    if module.refill is not None and module.group_size < 2:
        raise UserError(
            "model.refill needs model.group_size of at least 2: a single reward has no signal"
        )
    if module.kl_coef < 0:
        raise UserError(f"model.kl_coef must not be negative, got {module.kl_coef}")
    if module.sampling.temperature == 0:
        raise UserError("model.sampling.temperature must be above 0 to train: greedy rollouts")
    cut = module.sampling.top_p < 1 or module.sampling.top_k > 0
    if cut and module.engine.cuts_logprobs:
        raise UserError(
            f"model.sampling.top_p and top_k must be off to train with "
            f"{type(module.engine).__name__}, whose log-probs they change"
        )
    if module.reference_offload and module.lora is not None:
        raise UserError(
            "model.reference_offload has nothing to move: with model.lora the reference is the "
            "policy without its adapters"
        )
    if module.lora is not None and module.dtype_name not in ("float32", "float64"):
        raise UserError(
            f"model.lora needs model.dtype = float32, got {module.dtype_name}: the adapters have "
            "that dtype too, and their updates would be lost in rounding"
        )
    if not module.rewards:
        raise UserError("model.rewards must name at least one reward")
    check_overlong(module.rewards, module.sampling.max_new_tokens)
    check_length(
        module.max_positions(), module.prompts.max_prompt_tokens, module.sampling, "sampling"
    )
