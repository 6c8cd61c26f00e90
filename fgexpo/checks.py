"""Checks of settings against each other, made before any weight is loaded."""

from .errors import UserError
from .rollout import Sampling


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


def check_mini_batches(questions_per_step: int, size: int | None) -> None:
    """Check that mini-batches of ``size`` questions make up a step; None is the whole step.

    Raises:
        UserError: naming both settings.
    """
    if size is not None and questions_per_step % size:
        raise UserError(
            f"model.mini_batch_questions = {size} does not divide "
            f"data.questions_per_step = {questions_per_step}"
        )


def check_counts(**counts: int | None) -> None:
    """Check that every given setting of the model is at least 1; None stands for a default.

    Raises:
        UserError: naming the first that is not.
    """
    for setting, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"model.{setting} must be at least 1, got {value}")
