"""The model's own matrix products at a micro-batch's tokens: what an update could reach at best.

A forward product Y = X W' is followed by two of the same size: dX = dY W and dW = dY' X. If nothing
else took time, an update's MFU would be their rate over the data sheet's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from fgexpo.rollout.vllm.cache_size import head_width

from .clock import seconds_of
from .report import Finding, Note, Row
from .scale import Setting

TABLE = "Products in bf16, TFLOP/s, by their share of the data sheet"
REPEATS = {"cuda": 10, "cpu": 1}
SQUARE = {"cuda": 8192, "cpu": 128}


@dataclass(frozen=True)
class Product:
    """A weight of the model.

    Attributes:
        name: for the table.
        outputs: rows of the weight.
        inputs: columns.
        count: of the same shape in the model; 0 for a fused shape that the model does not use.
        share: of the micro-batch's tokens that go through it.
    """

    name: str
    outputs: int
    inputs: int
    count: int
    share: float = 1.0


def weights_of(config: Any, completion: float) -> list[Product]:
    """Those of a model, and its products fused.

    Args:
        config: of transformers.
        completion: share of the tokens that reach the LM head.
    """
    width, layers = head_width(config), config.num_hidden_layers
    hidden, inner = config.hidden_size, config.intermediate_size
    query, key = config.num_attention_heads * width, config.num_key_value_heads * width
    return [
        Product("query", query, hidden, layers),
        Product("key, value", key, hidden, 2 * layers),
        Product("attention's output", hidden, query, layers),
        Product("gate, up", inner, hidden, 2 * layers),
        Product("down", hidden, inner, layers),
        Product("LM head", config.vocab_size, hidden, 1, completion),
        Product("query, key and value fused", query + 2 * key, hidden, 0),
        Product("gate and up fused", 2 * inner, hidden, 0),
    ]


def products(setting: Setting, peak: float | None) -> Iterator[Finding]:
    """Time each weight's three products, and add them up as an update has them."""
    size, device = setting.size, setting.device
    tokens, done = size.micro_tokens[-1], size.new
    operations = seconds = 0.0
    for weight in weights_of(size.config(), done / (done + sum(size.prompt) / 2)):
        rows = max(1, int(tokens * weight.share))
        flops = 2.0 * rows * weight.outputs * weight.inputs
        taken = [_seconds(work, device) for work in _three(weight, rows, device)]
        operations += 3 * weight.count * flops
        seconds += weight.count * sum(taken)
        names = ("forward", "by the input", "by the weight")
        rates = {name: _rate(flops, one, peak) for name, one in zip(names, taken, strict=True)} | {
            "all three": _rate(3 * flops, sum(taken), peak)
        }
        shape = f"{rows:,} x {weight.inputs:,} x {weight.outputs:,}"
        count = str(weight.count) if weight.count else "not used"
        yield Row(TABLE, {"product": weight.name, "shape": shape, "in the model": count, **rates})
    yield Note(
        f"An update of {tokens:,} tokens has products of {seconds:.3f} s, "
        f"{_rate(operations, seconds, peak)}: its MFU if nothing else took time."
    )
    square = SQUARE[device]
    left, right = (_random(square, square, device) for _ in range(2))
    rate = _rate(2.0 * square**3, _seconds(lambda: left @ right, device), peak)
    yield Note(f"A {square} x {square} product: {rate}.")


def _three(weight: Product, rows: int, device: str) -> list[Callable[[], Any]]:
    read = _random(rows, weight.inputs, device)
    given = _random(rows, weight.outputs, device)
    weights = _random(weight.outputs, weight.inputs, device)
    return [lambda: read @ weights.t(), lambda: given @ weights, lambda: given.t() @ read]


def _random(rows: int, columns: int, device: str) -> torch.Tensor:
    return torch.randn(rows, columns, device=device, dtype=torch.bfloat16)


def _seconds(work: Callable[[], Any], device: str) -> float:
    repeats = REPEATS[device]

    def several() -> None:
        for _ in range(repeats):
            work()

    several()
    return seconds_of(several, device) / repeats


def _rate(flops: float, seconds: float, peak: float | None) -> str:
    share = "" if peak is None else f" ({flops / seconds / peak:.0%})"
    return f"{flops / seconds / 1e12:.3g}{share}"
