"""The ways to score and update that are compared: each adds one change to the one before.

Every switch is opened here by the very calls that training makes, without a trainer.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch

from fgexpo.model import head_slices, lm_head
from fgexpo.model.compiled import compile_layers
from fgexpo.model.kernels import use_kernels
from fgexpo.parallel.sharding import shard

from .one_process import alone
from .scale import Setting
from .work import open_policy


@dataclass(frozen=True)
class Variant:
    """One way.

    Attributes:
        name: for the table.
        one_pass: the LM head's logits are read once, by its own kernel; False forces the slices.
        half: layers compute with bf16 weights, by ``fsdp2`` on one GPU; else autocast casts them.
        liger: ``model.kernels: liger``.
        fused: AdamW in one kernel.
        larger: how many sizes of a micro-batch above the usual one.
        compiled: ``model.compile_layers``.
        checkpointing: of activations.
    """

    name: str
    one_pass: bool = False
    half: bool = False
    liger: bool = False
    fused: bool = False
    larger: int = 0
    compiled: bool = False
    checkpointing: bool = False


BASELINE = Variant("baseline")
HEAD = replace(BASELINE, name="+ LM head in one pass", one_pass=True)
HALF = replace(HEAD, name="+ bf16 weights (fsdp2)", half=True)
LIGER = replace(HALF, name="+ Liger's kernels", liger=True)
FUSED = replace(LIGER, name="+ fused AdamW", fused=True)
FULLER = replace(FUSED, name="+ larger micro-batches", larger=1)
COMPILED = replace(FUSED, name="compiled layers instead of Liger", liger=False, compiled=True)
SAVING = replace(BASELINE, name="baseline, activation checkpointing", checkpointing=True)
# Compiling takes longest, so it comes last.
VARIANTS = (BASELINE, HEAD, HALF, LIGER, FUSED, FULLER, SAVING, COMPILED)


def chosen(setting: Setting) -> Iterator[tuple[Variant, str | None]]:
    """Every variant, and why it is not run here; what adds to it is then without it."""
    lacks = no_liger(setting)
    for variant in VARIANTS:
        if variant == LIGER:
            yield variant, lacks
        elif variant.compiled and setting.device != "cuda":
            yield variant, "compiling gains nothing on a CPU"
        else:
            yield replace(variant, liger=variant.liger and lacks is None), None


def no_liger(setting: Setting) -> str | None:
    """Why Liger's kernels cannot run here; None if they can."""
    if setting.device != "cuda":
        return "Liger's kernels need a GPU"
    if importlib.util.find_spec("liger_kernel") is None:
        return "liger-kernel is not installed"
    return None


@contextmanager
def opened(variant: Variant, setting: Setting) -> Iterator[tuple[Any, torch.optim.Optimizer]]:
    """A policy and its optimizer.

    Args:
        variant: how it computes.
        setting: what of, and where.
    """
    with ExitStack() as stack:
        if not variant.one_pass:
            stack.enter_context(patch.object(lm_head, "slices", head_slices.Slices))
        policy = open_policy(setting, variant.checkpointing)
        if variant.liger:
            use_kernels(policy, "liger")
        if variant.compiled:
            compile_layers(policy)
        if variant.half:
            shard(policy, stack.enter_context(alone(setting.device)))
        optimizer = torch.optim.AdamW(
            policy.parameters(), lr=1e-6, weight_decay=0.1, fused=variant.fused or None
        )
        yield policy, optimizer
