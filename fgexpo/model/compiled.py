"""``model.compile_layers``: each decoder layer through ``torch.compile``.

Only passes without a cache are compiled: scoring and updating. Generation stays as it is. Attention
stays outside: it goes by the lengths of a row's sequences, which differ in every micro-batch. All
else is compiled once for all layers and all sizes.
"""

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface

from ..errors import UserError
from .packing import ATTENTION, decoder_layers, packed_attention

# Rounds intermediate results to 16 bits where PyTorch's own operations would. Without it a pass
# with gradients, which keeps other intermediate results, rounds otherwise than one without.
OPTIONS: dict[str, Any] = {"emulate_precision_casts": True}
# Graphs of one piece of code: layers, kinds of pass and checkpointing need eight at most so far.
GRAPHS = 64
# Where a compiled forward pass keeps the one that it was compiled from.
PLAIN = "plain"


def check_compile(compile_layers: bool, kernels: str) -> None:
    """Check that layers can be compiled.

    Raises:
        UserError: with kernels that do the same work, or without a compiler.
    """
    if not compile_layers:
        return
    if kernels != "none":
        raise UserError(
            f"model.compile_layers = true and model.kernels = {kernels} both fuse a layer's small "
            "operations; set one of them"
        )
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        raise UserError(
            "model.compile_layers = true needs a C++ compiler (g++ or clang++), and none was found"
        )


def compile_layers(model: Any) -> None:
    """Compile a model's decoder layers when they are first called, in place.

    Weights and their names stay the same; hooks on a layer run as before.

    Args:
        model: a causal LM, with adapters or without, not sharded yet.

    Raises:
        UserError: for a model whose layers cannot be found.
    """
    layers = decoder_layers(model)
    if layers is None:
        raise UserError(
            f"model.compile_layers = true: a {type(model).__name__}'s decoder does not hold its "
            "layers as `layers`; set it to false"
        )
    # Past its limit Dynamo would run a layer as it is, and that rounds otherwise.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    AttentionInterface.register(ATTENTION, torch.compiler.disable(packed_attention))
    for layer in layers:
        layer.forward = _without_cache(layer.forward)


def _without_cache(plain: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(plain, dynamic=True, options=OPTIONS)

    def forward(*inputs: Any, **options: Any) -> Any:
        cached = options.get("past_key_values") is not None
        return (plain if cached else compiled)(*inputs, **options)

    setattr(forward, PLAIN, plain)
    return forward
