"""The facts that identify a run, so that a checkpoint is not resumed as part of another run."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, get_args

import torch
from torch import nn

from ..errors import UserError
from ..parallel.sharding import full_tensor
from ..templates import PromptEncoder

Allowed = Literal["model", "template", "group_size", "pool", "questions_per_step"]
Fact = str | int | float
# Settings of an optimizer that choose how it is computed, not what.
_HOW = {"foreach", "fused", "capturable", "differentiable", "initial_lr", "params"}
_PROBE = "What is 1 + 1?"
_SAMPLES = 64


def fingerprint_model(model: nn.Module) -> str:
    """Names, shapes and some values of every weight: seconds, not minutes, for 8 B."""
    weights = ((name, full_tensor(weight)) for name, weight in model.named_parameters())
    # Sharding creates a subclass.
    return fingerprint_weights(type(model).__name__.removeprefix("FSDP"), weights)


def fingerprint_weights(kind: str, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The same of a model's class and its weights by name, in the order of its parameters."""
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in weights:
        flat = weight.flatten()
        stride = max(1, len(flat) // _SAMPLES)
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(flat[::stride].float().cpu().numpy().tobytes())
    return f"{kind} {digest.hexdigest()}"


def fingerprint_template(encoder: PromptEncoder) -> str:
    """A hash of a question's tokens and those that end an answer: template and tokenizer."""
    # The text too: a small vocabulary may drop the characters in which two templates differ.
    text = encoder.template.render(_PROBE, encoder.tokenizer)
    facts = repr((text, encoder.tokens(_PROBE), encoder.stop_ids))
    if encoder.stop_strings is not None:
        facts += repr(encoder.stop_strings.strings)
    digest = hashlib.blake2b(facts.encode(), digest_size=8)
    return f"{type(encoder.template).__name__} {digest.hexdigest()}"


def fingerprints(model: nn.Module, encoder: PromptEncoder) -> dict[str, Fact]:
    """What a run begins with: its weights, and how questions become prompts."""
    return {"model": fingerprint_model(model), "template": fingerprint_template(encoder)}


def optimizer_facts(optimizer: torch.optim.Optimizer) -> dict[str, Fact]:
    """Its class and settings: a resumed run goes on with the saved ones, whatever is set."""
    facts: dict[str, Fact] = {"model.optimizer": type(optimizer).__name__}
    for number, group in enumerate(optimizer.param_groups):
        place = "model.optimizer" if number == 0 else f"model.optimizer's group {number + 1}"
        for name in sorted(group.keys() - _HOW):
            value = group[name]
            value = value.item() if isinstance(value, torch.Tensor) else value
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            facts[f"{place}.{name}"] = value if plain else str(value)
    return facts


def check_changes(allowed: Collection[str]) -> None:
    """Check the names of the changes that a resumed run allows.

    Raises:
        UserError: for an unknown one.
    """
    for change in allowed:
        if change not in get_args(Allowed):
            raise UserError(f"model.allow_changes: {change!r} is none of {get_args(Allowed)}")


def check_same_run(
    saved: Mapping[str, Fact], now: Mapping[str, Fact], allowed: Collection[str]
) -> None:
    """Compare a checkpoint's facts with this run's.

    Raises:
        UserError: naming the first difference that is not allowed, with both values.
    """
    for name, value in now.items():
        if name in saved and saved[name] != value and name not in allowed:
            raise UserError(
                f"--ckpt_path: the checkpoint was made with {name} {saved[name]}, but this "
                f"run uses {value}; {_remedy(name)}"
            )


def _remedy(name: str) -> str:
    if name in get_args(Allowed):
        return f"if that is intended, set --model.allow_changes=[{name}]"
    return (
        "the optimizer's state belongs to the old value: set it as it was, or `export` the "
        "checkpoint and start a new run from that folder"
    )


def question_keys(ids: list[str]) -> torch.Tensor:
    """A number for each question id, int64 [M], small enough to store in every checkpoint."""
    keys = [
        int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little", signed=True)
        for id in ids
    ]
    return torch.tensor(keys, dtype=torch.int64)
