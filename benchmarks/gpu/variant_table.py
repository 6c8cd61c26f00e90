"""Scoring and updates by variant: seconds, MFU, memory, and whether the numbers are still right."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import Sequences
from fgexpo.parallel.sharding import own_part
from fgexpo.rollout.vllm.engine import LIMITS
from fgexpo.update.batch import TrainingBatch

from .clock import Measured, dearest, measure, profiled, tidy
from .parity import COSINE, SHARES, SHORT, agreement, objective, plain
from .passes import percent, rollouts_are, score_once, tokens_of, update_once, use_of
from .planned import memory_cells, memory_check, planned_pass, usual
from .report import Check, Finding, Note, Row, above, below
from .scale import Setting
from .variants import FUSED, Variant, chosen, opened
from .work import autocast, cut_rollouts, draw_rollouts, open_policy, real_rollouts

TABLE = "Seconds, MFU and memory; each adds to the one before unless it says otherwise"
RIGHT = "Against float32 with plain attention and whole logits, on short rows"
# What an update and a scoring pass should reach at least, MFU.
TARGETS = {"update": 0.38, "score": 0.35}
DEAREST = 15


@dataclass(frozen=True)
class Yardstick:
    """What float32 has, with plain attention and whole logits.

    Attributes:
        sequences: short rows.
        logp: of their completion tokens, one after another.
        gradients: of the parity's objective, in host memory.
    """

    sequences: Sequences
    logp: Tensor
    gradients: list[Tensor]


def variants(setting: Setting) -> Iterator[Finding]:
    """Measure one after another; what runs out of memory or is not installed says so."""
    rollouts = real_rollouts(setting)
    yield rollouts_are(rollouts)
    yardstick, number = _start(setting, rollouts)
    found: dict[str, list[float]] = {what: [] for what in TARGETS}
    for variant, lacks in chosen(setting):
        if lacks is None:
            # What one cannot do must not cost the others: a GPU's minutes are few.
            try:
                yield from _variant(variant, setting, rollouts, yardstick, number, found)
            except Exception as error:
                traceback.print_exc()
                [message, *_] = str(error).splitlines() or [""]
                yield Check(variant.name, f"{type(error).__name__}: {message}", "measured", False)
            tidy(setting.device)  # it is freed by now
        else:
            yield Note(f"{variant.name}: not measured, since {lacks}; what adds to it is without.")
    for what, limit in TARGETS.items():
        if found[what]:
            yield above(f"{what}: best MFU", max(found[what]), limit, "the target on an H200")


def _start(setting: Setting, rollouts: TrainingBatch) -> tuple[Yardstick, int]:
    """The yardstick, and which of the micro-batches is the usual one: one that fits by the plan."""
    lengths = [max(1, int(share * setting.size.new)) for share in SHARES]
    drawn = draw_rollouts(setting, list(setting.size.prompt), lengths, len(SHARES) // 2)
    sequences = drawn.sequences.select(torch.tensor(SHORT))
    policy = open_policy(setting)
    number = usual(policy, rollouts, setting)  # before its attention is another one
    with sdpa_kernel(SDPBackend.MATH):
        exact = plain(policy, sequences, setting.device, bf16=False)
        objective(exact, sequences).backward()
    gradients = [_in_host_memory(parameter.grad) for parameter in policy.parameters()]
    del policy
    tidy(setting.device)
    return Yardstick(sequences, exact["logp"].detach(), gradients), number


def _in_host_memory(gradient: Tensor) -> Tensor:
    """A copy that comes back fast, and does not count in what is measured on the device."""
    return gradient.cpu().pin_memory() if gradient.is_cuda else gradient.clone()


def _variant(
    variant: Variant,
    setting: Setting,
    rollouts: TrainingBatch,
    yardstick: Yardstick,
    number: int,
    found: dict[str, list[float]],
) -> Iterator[Finding]:
    device, micro_tokens = setting.device, setting.size.micro_tokens[number + variant.larger]
    with opened(variant, setting) as (policy, optimizer):
        yield from right(variant.name, policy, yardstick, device)
        cuts = cut_rollouts(policy, rollouts, micro_tokens)
        yield same_without_grad(variant.name, policy, rollouts.sequences.select(cuts[0]), device)
        rollouts.cuts = [cuts]
        score = measure(partial(score_once, policy.eval(), rollouts, device), device, 1)
        # A KL term, as in training; its reference is the old policy.
        rollouts.ref_logp_NT = rollouts.old_logp_NT
        work = partial(update_once, policy.train(), optimizer, rollouts, cuts, setting)
        update = measure(work, device, setting.size.repeats)
        checkpointing = variant.checkpointing
        planned = planned_pass(
            policy, rollouts, micro_tokens, checkpointing, variant.half, variant.fused
        )
        row = {"variant": variant.name, "micro_batch_tokens": f"{micro_tokens:,}"}
        row |= _cells("score", setting, rollouts, score, found)
        row |= _cells("update", setting, rollouts, update, found) | memory_cells(update, planned)
        yield Row(TABLE, row)
        if not variant.half:
            yield from memory_check(variant.name, update, planned, device)
        if variant.name == FUSED.name and update is not None:
            yield from _where(policy, optimizer, rollouts, setting, cuts[:1])


def _cells(
    what: str,
    setting: Setting,
    rollouts: TrainingBatch,
    measured: Measured | None,
    found: dict[str, list[float]],
) -> dict[str, str]:
    """For the table; ``found`` gets the MFU."""
    if measured is None:
        return {f"{what} s": "out of memory", f"{what} tokens/s": "-", f"{what} MFU": "-"}
    use = use_of(setting, rollouts, measured.median, 1 if what == "score" else 3)
    if use is not None:
        found[what].append(use)
    return {
        f"{what} s": measured.spread,
        f"{what} tokens/s": f"{tokens_of(rollouts) / measured.median:,.0f}",
        f"{what} MFU": percent(use),
    }


def right(name: str, policy: Any, yardstick: Yardstick, device: str) -> Iterator[Finding]:
    """Log-probs and gradients of a variant against float32."""
    sequences, mask_NT = yardstick.sequences, yardstick.sequences.mask_NT
    with autocast(device):
        logp_NT, entropy_NT = completion_logprobs(policy.train(), sequences, entropy=True)
    assert entropy_NT is not None
    made = {"logp": logp_NT[mask_NT], "entropy": entropy_NT[mask_NT]}
    objective(made, sequences).backward()
    gradients = [own_part(parameter.grad) for parameter in policy.parameters()]
    cosine, norm, _, worst = agreement(gradients, yardstick.gradients)
    policy.zero_grad()
    apart = float((made["logp"].detach() - yardstick.logp).abs().mean())
    row = {"variant": name, "mean log-prob difference": f"{apart:.2e}"}
    row |= {"gradient's cosine": f"{cosine:.6f}", "its norm / norm": f"{norm:.4f}"}
    yield Row(RIGHT, row | {"worst weight's cosine": f"{worst:.4f}"})
    why = "the difference from the engine at which training stops"
    yield below(f"{name}: mean |log-prob difference|", apart, LIMITS["bfloat16"], why)
    why = "rounding turns a step by no more than 8 degrees"
    yield above(f"{name}: gradient's cosine", cosine, COSINE, why)


def same_without_grad(name: str, policy: Any, sequences: Sequences, device: str) -> Check:
    """Whether a pass with gradients has the same bits as one without: the first ratio is then 1."""
    with torch.no_grad(), autocast(device):
        before = completion_logprobs(policy.eval(), sequences, entropy=True)
    with autocast(device):
        after = completion_logprobs(policy.train(), sequences, entropy=True)
    pairs = [
        (a, b.detach()) for a, b in zip(before, after, strict=True) if not (a is None or b is None)
    ]
    apart = [float((a - b).abs().max()) for a, b in pairs]
    equal = all(torch.equal(a, b) for a, b in pairs)
    return Check(
        f"{name}: no grad equals grad",
        f"log-probs {apart[0]:.1e}, entropies {apart[1]:.1e} apart at most",
        "bit for bit",
        equal,
    )


def _where(
    policy: Any,
    optimizer: torch.optim.Optimizer,
    rollouts: TrainingBatch,
    setting: Setting,
    cuts: list[Tensor],
) -> Iterator[Finding]:
    work = partial(update_once, policy, optimizer, rollouts, cuts, setting)
    averages = profiled(work, setting.device)
    table = f"Where an update of one micro-batch spends the device's time ({FUSED.name})"
    for name, calls, part in dearest(averages, setting.device, DEAREST):
        yield Row(table, {"operation": f"`{name}`", "calls": str(calls), "share": f"{part:.1%}"})
