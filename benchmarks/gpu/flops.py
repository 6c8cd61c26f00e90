"""Floating-point operations that the model itself needs, and what a GPU's data sheet promises.

A forward pass of a sequence of L tokens takes 2 x (parameters of the layers' matrices) x L and, in
causal attention, 2 x layers x heads x channels x L^2: two products of 2 x L^2 x heads x channels,
of which the mask leaves half. The LM head takes 2 x (its parameters) for every token whose log-prob
is needed. An update takes three forward passes. Recomputation by activation checkpointing or by the
LM head's slices does not count, nor does padding: this measures model-FLOP utilisation, not how
busy the GPU is.
"""

import re
from dataclasses import dataclass
from typing import Any

from fgexpo.plan.gpus import GPUS
from fgexpo.plan.shape import elements, shape_of
from fgexpo.rollout.vllm.cache_size import head_width

# Torch's names for the GPUs of the data sheet; a variant with other peaks matches none of them.
NAMES = {
    r"A100[- ](SXM4|PCIE)?.*": "a100",
    r"H100 80GB HBM3": "h100",
    r"H200": "h200",
    r"H20": "h20",
    r"B200": "b200",
    r"L40S": "l40s",
    r"GeForce RTX 4090": "rtx4090",
}


@dataclass(frozen=True)
class Flops:
    """Operations of one model.

    Attributes:
        matrices: parameters of the decoder layers' matrices.
        head: parameters of the LM head.
        width: layers x heads x channels.
    """

    matrices: int
    head: int
    width: int

    def body(self, length: float, known: float = 0) -> float:
        """Through the layers, of a sequence whose first ``known`` tokens are in the KV cache."""
        attention = 2 * self.width * (length**2 - known**2)
        return 2 * self.matrices * (length - known) + attention

    def logits(self, tokens: float) -> float:
        """Through the LM head."""
        return 2 * self.head * tokens

    def forward(self, prompts: list[int], completions: list[int]) -> float:
        """Log-probs of completions, row by row."""
        rows = zip(prompts, completions, strict=True)
        return sum(self.body(p + c) + self.logits(c) for p, c in rows)

    def generate(self, prompts: list[int], group: int, new: int) -> float:
        """``group`` completions of ``new`` tokens; the prompt is read once, the last token not."""
        one = sum(self.body(p) + self.logits(1) for p in prompts)
        each = sum(self.body(p + new - 1, p) + self.logits(new - 1) for p in prompts)
        return one + group * each


def flops_of(config: Any) -> Flops:
    """Those of a model with this configuration."""
    shape = shape_of(config)
    width = config.num_hidden_layers * config.num_attention_heads * head_width(config)
    return Flops(shape.matrices, elements((shape.head,)), width)


def gpu_key(name: str) -> str | None:
    """The data sheet's name of a GPU by torch's name for it; None if it has none."""
    if "MIG" in name:
        return None
    for pattern, key in NAMES.items():
        if re.fullmatch(f"NVIDIA {pattern}", name):
            return key
    return None


def peak_flops(name: str) -> float | None:
    """Dense bf16 FLOP/s of a GPU by torch's name for it; None if its data sheet is not known."""
    key = gpu_key(name)
    return None if key is None else GPUS[key].flops


def utilisation(flops: float, seconds: float, peak: float | None) -> str:
    """Share of the peak in words."""
    return "not given" if peak is None else f"{flops / seconds / peak:.1%}"
