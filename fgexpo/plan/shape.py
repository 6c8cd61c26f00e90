"""A model's parameters by name and shape, without a byte of them in memory."""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil, prod
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ..errors import UserError
from ..model.packing import decoder_layers

Size = tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """The sizes of a model's parameters.

    Attributes:
        layers: of each decoder layer, the sizes of its parameters.
        root: sizes of the others: embedding, last norm, and the head where it is not tied.
        linear: [out, in] of every linear layer in the decoder layers, which LoRA adapts.
        head: [V, H] of the LM head.
        tied: the head is the embedding.
    """

    layers: tuple[tuple[Size, ...], ...]
    root: tuple[Size, ...]
    linear: tuple[Size, ...]
    head: Size
    tied: bool

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """Number of all parameters; a tied head counts once."""
        return (*self.root, *(size for layer in self.layers for size in layer))

    @property
    def count(self) -> int:
        """Parameters."""
        return elements(self.sizes)

    @property
    def largest_layer(self) -> int:
        """Parameters of the largest decoder layer."""
        return max(elements(layer) for layer in self.layers)

    @property
    def matrices(self) -> int:
        """Parameters that every token is multiplied with, without the head."""
        return elements(self.linear)


def elements(sizes: tuple[Size, ...]) -> int:
    """Number of elements of tensors of these sizes."""
    return sum(prod(size) for size in sizes)


def shard(sizes: tuple[Size, ...], processes: int) -> tuple[Size, ...]:
    """Sizes of rank 0's shards under FSDP2: of every parameter, ceil(rows / W) rows."""
    return tuple((ceil(size[0] / processes), *size[1:]) for size in sizes)


def shape_of(config: Any) -> Shape:
    """The shape of a model with this configuration.

    Raises:
        UserError: for a model whose layers cannot be found.
    """
    return _shape(to_text(config))


def to_text(config: Any) -> str:
    """A configuration in a hashable form."""
    return json.dumps(config.to_dict(), sort_keys=True, default=str)


def from_text(text: str, layers: int | None = None) -> Any:
    """The configuration from that form, optionally with another number of layers."""
    settings = json.loads(text)
    if layers is not None:
        settings["num_hidden_layers"] = layers
        kinds = settings.get("layer_types")
        settings["layer_types"] = kinds and kinds[:layers]
    return CONFIG_MAPPING[settings["model_type"]].from_dict(settings)


@lru_cache(maxsize=16)
def _shape(text: str) -> Shape:
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(from_text(text))
    layers = decoder_layers(model)
    if layers is None:
        raise UserError(
            f"model.name: a {type(model).__name__} cannot be planned for: its decoder does not "
            "hold its layers as `layers`"
        )
    inside = {id(parameter) for parameter in layers.parameters()}
    head = model.get_output_embeddings().weight
    return Shape(
        layers=tuple(tuple(tuple(p.shape) for p in layer.parameters()) for layer in layers),
        root=tuple(tuple(p.shape) for p in model.parameters() if id(p) not in inside),
        linear=tuple(
            tuple(layer.weight.shape) for layer in layers.modules() if isinstance(layer, nn.Linear)
        ),
        head=tuple(head.shape),
        tied=head is model.get_input_embeddings().weight,
    )
