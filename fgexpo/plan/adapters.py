"""Models without weights, with LoRA's adapters."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from ..model.lora import ALL, LoRA, adapt
from ..model.packing import enable_packing
from .shape import Size, from_text, to_text


@dataclass(frozen=True)
class Adapters:
    """The part of :class:`~fgexpo.model.lora.LoRA` that memory depends on; hashable."""

    rank: int
    targets: str | tuple[str, ...] = ALL

    def put_into(self, model: Any) -> None:
        """Freeze a model and adapt it."""
        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        adapt(model, LoRA(self.rank, targets=targets), seed=0)


def meta_model(
    text: str,
    layers: int | None = None,
    dtype: torch.dtype = torch.float32,
    adapters: Adapters | None = None,
) -> Any:
    """A model of this configuration without weights, optionally with fewer layers and adapted."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(from_text(text, layers), dtype=dtype)
        if adapters is not None:
            adapters.put_into(model)
    return model


def packs(config: Any) -> bool:
    """Whether a model of this configuration reads rows without padding, and can share prompts."""
    return _packs(to_text(config))


@lru_cache(maxsize=16)
def _packs(text: str) -> bool:
    return enable_packing(meta_model(text))


def fake_model(text: str, layers: int, dtype: torch.dtype, adapters: Adapters | None = None) -> Any:
    """The same with fake tensors on the CPU, to be called in a ``FakeTensorMode``.

    Adapters have the weights' dtype, as peft makes them, except on the meta device.
    """
    model = meta_model(text, layers, dtype, adapters)
    made: dict[int, nn.Parameter] = {}  # a tied weight is one
    for module in model.modules():
        for name, old in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(old) not in made:
                empty = torch.empty(old.shape, dtype=dtype)
                made[id(old)] = nn.Parameter(empty, requires_grad=old.requires_grad)
            setattr(module, name, made[id(old)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return model


def adapter_sizes(config: Any, adapters: Adapters) -> tuple[Size, ...]:
    """Sizes of all trained matrices."""
    return _sizes(to_text(config), adapters)


@lru_cache(maxsize=16)
def _sizes(text: str, adapters: Adapters) -> tuple[Size, ...]:
    model = meta_model(text, adapters=adapters)
    return tuple(tuple(p.shape) for p in model.parameters() if p.requires_grad)
