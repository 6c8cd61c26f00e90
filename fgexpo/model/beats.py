"""Progress within a forward or backward pass, layer by layer, for the watchdog."""

from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

from ..heartbeat import beat, compute

Model = TypeVar("Model", bound=nn.Module)


def beat_by_layer(model: Model) -> Model:
    """Count every layer that a pass gets through as progress, and return the model.

    On a slow machine one pass over many long rows may take longer than the watchdog's limit. A pass
    that hangs, as in a collective, gets through no further layer. Within a layer on a CPU, the use
    of the processor is progress; see :mod:`fgexpo.robustness.watchdog.working`. The hooks change no
    number.
    """
    for layer in _layers(model):
        layer.register_forward_pre_hook(_before_forward)
        layer.register_forward_hook(_after_forward)
    return model


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """Items of the outermost lists of modules: layers, but not the experts inside them."""
    for part in model.children():
        yield from part if isinstance(part, nn.ModuleList) else _layers(part)


def _before_forward(layer: nn.Module, inputs: Any) -> None:
    compute(bool(inputs) and isinstance(inputs[0], Tensor) and inputs[0].is_cpu)


def _after_forward(layer: nn.Module, inputs: Any, output: Any) -> None:
    beat()
    hidden = output[0] if isinstance(output, tuple | list) and output else output
    if isinstance(hidden, Tensor) and hidden.requires_grad:
        hidden.register_hook(_after_backward)


def _after_backward(gradient: Tensor) -> None:
    beat()
