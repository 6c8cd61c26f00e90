"""A model card: what the model is, how good it is, how it was trained, and how to ask it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ..templates import PromptEncoder
from .base import Base
from .markdown import block, code, settings, text
from .run_config import describe, setting, told
from .scores import for_the_hub, section
from .software import versions
from .usage import example

FILE = "README.md"
PAPER = "https://arxiv.org/abs/2605.11403"
_SUPERVISED = "SupervisedModule"


@dataclass(frozen=True)
class Origin:
    """What a card is made of.

    Attributes:
        name: of the model.
        loaded_by: what to load it by: a folder or a hub id.
        saved: what a checkpoint holds of its run.
        base: what the run started from; None if that is not known.
        config: the run's configuration; empty if it is not known.
        encoder: template and tokenizer of the run; None if they are not known.
        results: proven to be of these weights; None if there are none.
    """

    name: str
    loaded_by: str
    saved: Mapping[str, Any]
    base: Base | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    encoder: PromptEncoder | None = None
    results: Mapping[str, Any] | None = None


def write_card(origin: Origin, folder: Path) -> None:
    """Write ``README.md`` with the front matter that the hub reads."""
    (folder / FILE).write_text(str(make_card(origin)), encoding="utf-8")


def make_card(origin: Origin) -> ModelCard:
    """The card of a model; everything that a user has named is escaped in it."""
    license: dict[str, Any] = dict(origin.base.license) if origin.base else {}
    data = ModelCardData(
        base_model=origin.base.hub_id if origin.base else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=_tags(origin.config),
        model_name=None if origin.results is None else origin.name,
        eval_results=None if origin.results is None else for_the_hub(origin.results),
        **license,
    )
    parts = [
        f"# {text(origin.name)}",
        _what(origin),
        "## Scores",
        _no_scores(origin) if origin.results is None else section(origin.results),
        "## Use",
        _use(origin),
        "## Training",
        _training(origin),
        "## Software",
        f"Exported with {', '.join(_software())}.",
    ]
    body = "\n\n".join(parts)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=False)


def _software() -> list[str]:
    return [text(f"{name} {is_at}") for name, is_at in versions().items() if is_at is not None]


def _tags(config: Mapping[str, Any]) -> list[str]:
    if _is_supervised(config):
        return ["fgexpo", "math", "sft"]
    rules = ["akl"] if setting(config, "akl") is not None else []
    if "Gaussian" in describe(setting(config, "data.curriculum")):
        rules.append("gcs")
    return ["fgexpo", "math", "reinforcement-learning", "rlvr", "grpo", *rules]


def _is_supervised(config: Mapping[str, Any]) -> bool:
    return str((config.get("model") or {}).get("class_path")).endswith(_SUPERVISED)


def _what(origin: Origin) -> str:
    base = "a model" if origin.base is None else text(origin.base.shown)
    steps = f"{origin.saved['rollout_step']:,} steps"
    how = (
        "supervised learning on worked solutions"
        if _is_supervised(origin.config)
        else "reinforcement learning with verifiable rewards on maths"
    )
    made = f"Trained from {base} in {steps} of {how}, with fgexpo ([FG-ExPO]({PAPER}))."
    if origin.base is None or origin.base.note is None:
        return made
    return f"{made} The license of the base is not known here: its own card could not be read."


def _no_scores(origin: Origin) -> str:
    command = f"fgexpo test --config CONFIG --model.name {origin.loaded_by}"
    return (
        "No score was measured. This command measures some; CONFIG names the benchmarks, the "
        f"sampling and the template, as {code('eval/six')} does:\n\n{block('bash', command)}"
    )


def _use(origin: Origin) -> str:
    if origin.encoder is None:
        return "The prompt that it was trained on is not known here; the training below names it."
    budget = setting(origin.config, "model.sampling.max_new_tokens") or setting(
        origin.config, "model.evaluation.sampling.max_new_tokens"
    )
    shown = example(origin.encoder, origin.loaded_by, int(budget or 1024))
    name = type(origin.encoder.template).__name__
    if shown is None:
        return f"It was trained on prompts of the template {code(name)} of fgexpo."
    return (
        f"With the prompt that it was trained on, of the template {code(name)}; ask a question "
        f"like those that it was trained on instead of this one:\n\n{shown}"
    )


def _training(origin: Origin) -> str:
    saved, facts = origin.saved, origin.saved.get("facts") or {}
    found = {"base": origin.base.shown} if origin.base else {}
    counts = {"steps": "rollout_step", "rollouts": "num_rollouts", "sampled tokens": "num_tokens"}
    found |= {label: f"{saved[key]:,}" for label, key in counts.items() if saved.get(key)}
    found["seed"] = str(saved.get("seed"))
    if origin.config:
        return settings(found | told(origin.config))
    optimizer = {key.removeprefix("model."): str(value) for key, value in facts.items()}
    note = "The run's configuration is not known; its checkpoint holds this."
    return f"{note}\n\n{settings(found | optimizer)}"
