"""The configuration of the run that a checkpoint comes from, and what a card says of it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..outside import reading

NAME = "config.yaml"
_OPTIMIZER, _TEMPLATE = "model.optimizer", "model.template"
# What a card says of a run's settings, by their keys.
_LABELS = {
    "model.kl_coef": "KL coefficient",
    "akl": "KL rule",
    "data.curriculum": "curriculum",
    "data.refresh": "curriculum's refresh",
    "data.decay": "decay of pass-rates",
    "model.advantages": "advantages",
    "model.advantage_scale": "advantage scale",
    "model.loss": "loss",
    "model.allocation": "allocation",
    "model.refill": "refill",
    "model.reference_update": "reference update",
    "model.rewards": "rewards",
    "model.verifier": "verifier",
    "model.template": "template",
    "model.max_prompt_tokens": "prompt tokens at most",
    "model.sampling": "sampling",
    "data.train": "training questions",
    "data.questions_per_step": "questions per step",
    "model.group_size": "rollouts per question",
    "model.mini_batch_questions": "questions per update",
    "model.inner_epochs": "passes over a batch",
    "model.optimizer": "optimizer",
    "model.warmup_steps": "warm-up steps",
    "model.max_grad_norm": "gradient norm at most",
    "model.lora": "LoRA",
    "model.dtype": "weights",
    "trainer.precision": "precision",
}


def find_config(ckpt_path: str) -> Path | None:
    """The ``config.yaml`` in the run folder of a checkpoint."""
    folder = Path(ckpt_path).parent
    beside = (folder / NAME, Path(os.path.normpath(folder / "..")) / NAME)
    return next((found for found in beside if found.is_file()), None)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a run's configuration.

    Raises:
        UserError: when it is not a configuration of a run.
    """
    with reading(path, "the YAML of a run's configuration"):
        found = yaml.safe_load(Path(path).read_text())
        if not isinstance(found, dict) or not isinstance(setting(found, "model"), dict):
            raise UserError(f"{str(path)!r} is no configuration of a run")
    return found


def setting(config: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key, through ``init_args``; None if there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get("init_args", node) if isinstance(node, Mapping) else None
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def difference(config: Mapping[str, Any], saved: Mapping[str, Any]) -> str | None:
    """How a configuration differs from what a checkpoint says of its run; None if it does not.

    Args:
        config: of a run.
        saved: what a checkpoint holds of its run.
    """
    held, given = _held(saved), _given(config)
    both = [name for name in given if name in held]
    for name in both:
        if given[name] != held[name]:
            return f"{name} is {given[name]} there and {held[name]} in the checkpoint"
    return None if both else "nothing that the checkpoint holds is set there"


def _held(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its run, by the keys of a configuration."""
    held = {**(saved.get("facts") or {}), "seed_everything": saved.get("seed")}
    if "template" in held:
        held[_TEMPLATE] = str(held["template"]).partition(" ")[0]
    if saved.get("lora"):
        held["model.lora.rank"] = saved["lora"]["rank"]
    return held


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration sets of that, in the same form."""
    steps = (f"model.{name}" for name in ("warmup_steps", "cooldown_steps"))
    found: dict[str, Any] = {
        "seed_everything": config.get("seed_everything"),
        "group_size": setting(config, "model.group_size"),
        "model.lora.rank": setting(config, "model.lora.rank"),
        **{key: setting(config, key) for key in steps},
    }
    for key in (_OPTIMIZER, _TEMPLATE):
        node = setting(config, key)
        kind = node.get("class_path") if isinstance(node, Mapping) else node
        found[key] = None if kind is None else str(kind).rpartition(".")[2]
    optimizer = setting(config, _OPTIMIZER)
    chosen = optimizer.get("init_args") if isinstance(optimizer, Mapping) else None
    for name, value in (chosen or {}).items():
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        shown = tuple(value) if isinstance(value, list) else value
        found[f"{_OPTIMIZER}.{name}"] = shown if plain or value is None else str(shown)
    return {name: value for name, value in found.items() if value is not None}


def told(config: Mapping[str, Any]) -> dict[str, str]:
    """What a card says of the settings: those that are set, by their labels."""
    found = {label: setting(config, key) for key, label in _LABELS.items()}
    if setting(config, "model.advantages") is not None:
        found.pop("advantage scale")  # it is part of the default alone
    shown = {label: describe(value) for label, value in found.items() if value not in (None, [])}
    if "KL coefficient" in shown:
        shown.setdefault("KL rule", "none: the coefficient is constant")
    return shown


def describe(value: Any) -> str:
    """A value of a configuration in one line, such as ``Gaussian(mean=0.5, std=0.35)``."""
    if isinstance(value, Mapping) and "class_path" in value:
        name = str(value["class_path"]).rpartition(".")[2]
        settings = ", ".join(_pairs(value.get("init_args") or {}))
        return f"{name}({settings})" if settings else name
    if isinstance(value, Mapping):
        return ", ".join(_pairs(value))
    if isinstance(value, list):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name  # whose machine it was is nobody's business
    return str(value)


def _pairs(values: Any) -> Iterator[str]:
    if not isinstance(values, Mapping):
        yield describe(values)
        return
    for name, value in values.items():
        if value not in (None, [], {}):
            yield f"{name}={describe(value)}"
