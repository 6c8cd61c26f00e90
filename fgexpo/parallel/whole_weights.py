"""A policy's weights in the form that an engine with its own copy loads."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .buckets import gather_named
from .sharding import full_tensor

HEAD = "lm_head.weight"
_WRAPPER, _BASE, _ADAPTER = "base_model.model.", ".base_layer", "lora_"


def full_weights(
    policy: nn.Module, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its Hugging Face name, whole, in the same order on every process.

    Sharded weights are gathered in buckets, so all processes must iterate over all of them.
    A tied LM head is a separate weight here: engines are opened untied, since vLLM on a CPU does
    not update a tied head. LoRA adapters (peft) are merged in the weights' own dtype; the policy's
    own weights stay the same, bit for bit.

    Args:
        policy: from Hugging Face; sharded or not, with or without adapters.
        dtype: that the engine rounds them to: wider weights are rounded before they are gathered,
            which halves the bytes of float32. None for the weights' own.
    """
    return gather_named(_named(policy), dtype)


def _named(policy: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name, merged, and still sharded unless it had to be merged."""
    adapted = _adapted(policy)
    seen = set()
    for name, weight in policy.state_dict().items():
        if _ADAPTER in name:
            continue
        if name in adapted:
            layer = adapted[name]
            weight = full_tensor(weight) + sum(
                full_tensor(layer.get_delta_weight(adapter)) for adapter in layer.active_adapters
            )
        name = name.removeprefix(_WRAPPER).replace(_BASE, "")
        seen.add(name)
        yield name, weight
    head: Any = policy.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    names = {f"{name}.weight" for name, module in policy.named_modules() if module is head}
    if not seen & (names | {HEAD}):
        yield HEAD, head.weight


def _adapted(policy: nn.Module) -> dict[str, Any]:
    """The layers that adapters change, by the name of the weight that they change."""
    return {
        f"{name}{_BASE}.weight": layer
        for name, layer in policy.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
