"""Do all ways of computing log-probs agree, in float32 and in bf16 over the same weights?

The yardstick is float32 with padded rows, attention by plain matrix products and full logits: none
of it optimised. In bf16, two correct ways differ by rounding, each about as far from the yardstick
as bf16 itself, so the tolerance between them is measured, not assumed.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import ATTENTION
from fgexpo.model.sequences import Sequences
from fgexpo.rollout.vllm.engine import LIMITS

from .clock import tidy
from .report import Finding, Note, Row, above, below
from .scale import Setting
from .work import autocast, draw_rollouts, open_policy

# Shares of the longest completion: neighbours share a bucket of attention, others do not.
SHARES = [1.0, 0.95, 0.5, 0.12, 0.11, 0.05]
SHORT = [3, 4, 5]  # rows of gradients, for which whole logits are kept
HEAD_ROWS = 1024
PLAIN, TRAINING = "padded, plain attention, whole logits", "packed, fast attention, slices"
WAYS = {"padded, fast attention, slices": "sdpa", TRAINING: ATTENTION}
# Two independently rounded ways differ by sqrt(2) of either's error; 2 leaves room.
BETWEEN = 2.0
COSINE = 0.99
NORM = 0.05
SAME = 1e-3  # float32 gradients, as a share of their norm

Found = dict[str, Tensor]


def parity(setting: Setting) -> Iterator[Finding]:
    """Log-probs and entropies four ways in both precisions, then gradients."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    # Checkpointing, so that gradients need little memory besides their own.
    policy = open_policy(setting, checkpointing=True).eval()
    lengths = [max(1, int(share * setting.size.new)) for share in SHARES]
    rollouts = draw_rollouts(setting, list(setting.size.prompt), lengths, len(SHARES) // 2)
    yield Note(f"{len(lengths)} random rows, completions of {lengths} tokens.")
    with torch.no_grad():
        yield from _compare(policy, rollouts.sequences, setting.device)
    tidy(setting.device)
    yield from _gradients(policy, rollouts.sequences, setting.device)


def _compare(policy: Any, sequences: Sequences, device: str) -> Iterator[Finding]:
    yardstick = plain(policy, sequences, device, bf16=False)
    entropy = float(yardstick["entropy"].mean())
    yield Note(
        f"The mean entropy is {entropy:.2f} nats: random weights are nearly sure of nothing. What "
        "rounding does to a trained model's log-probs is of this order, but another number."
    )
    full = (
        "what the same weights' float32 may differ by in any engine (fgexpo/rollout/vllm/engine.py)"
    )
    for name, kind in WAYS.items():
        found = fast(policy, sequences, device, False, kind)
        yield _row("float32", name, found, yardstick)
        for key in found:
            yield below(
                f"float32, {name}: mean |{key} - yardstick|",
                distance(found, yardstick, key),
                LIMITS["float32"],
                full,
            )
    rounded = plain(policy, sequences, device, bf16=True)
    yield _row("bf16", PLAIN, rounded, yardstick)
    for name, kind in WAYS.items():
        found = fast(policy, sequences, device, True, kind)
        yield _row("bf16", name, found, yardstick)
        for key in found:
            rounding = distance(rounded, yardstick, key)
            yield below(
                f"bf16, {name}: mean |{key} - that of plain bf16|",
                distance(found, rounded, key),
                BETWEEN * rounding,
                f"{BETWEEN:.0f} x plain bf16's own distance from the yardstick",
            )
        if name == TRAINING:
            yield below(
                f"bf16, {name}: mean |logp - yardstick|",
                distance(found, yardstick, "logp"),
                LIMITS["bfloat16"],
                "the difference from the engine at which training stops",
            )


def fast(policy: Any, sequences: Sequences, device: str, bf16: bool, kind: str) -> Found:
    """The project's own path, with padded rows or with packed ones."""
    policy.set_attn_implementation(kind)
    with _precision(device, bf16):
        logp_NT, entropy_NT = completion_logprobs(policy, sequences, entropy=True)
    assert entropy_NT is not None
    mask_NT = sequences.mask_NT
    return {"logp": logp_NT[mask_NT], "entropy": entropy_NT[mask_NT]}


def plain(policy: Any, sequences: Sequences, device: str, bf16: bool) -> Found:
    """The naive way, with logits in blocks of rows to save memory."""
    policy.set_attn_implementation("sdpa")
    row_M, column_M = sequences.mask_NT.nonzero(as_tuple=True)
    place_M = sequences.prompt_lengths_N[row_M] + column_M
    tokens_NL, head = sequences.tokens_NL, policy.get_output_embeddings()
    chosen, entropies = [], []
    with ExitStack() as stack:
        stack.enter_context(_precision(device, bf16))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        hidden_NLH = policy.get_decoder()(input_ids=tokens_NL, use_cache=False).last_hidden_state
        hidden_MH, target_M = hidden_NLH[row_M, place_M - 1], tokens_NL[row_M, place_M]
        for hidden_mH, target_m in zip(
            hidden_MH.split(HEAD_ROWS), target_M.split(HEAD_ROWS), strict=True
        ):
            # In double precision: over this many words, float32 sums would have the larger error.
            logp_mV = head(hidden_mH).double().log_softmax(-1)
            chosen.append(logp_mV.gather(1, target_m[:, None])[:, 0])
            entropies.append(-(logp_mV.exp() * logp_mV).sum(1))
    return {"logp": torch.cat(chosen).float(), "entropy": torch.cat(entropies).float()}


def _precision(device: str, bf16: bool) -> Any:
    return autocast(device) if bf16 else ExitStack()


def distance(found: Found, other: Found, key: str) -> float:
    """Mean absolute difference."""
    return float((found[key] - other[key]).abs().mean())


def _row(precision: str, name: str, found: Found, yardstick: Found) -> Row:
    cells = {"computed in": precision, "how": name}
    for key in found:
        difference_M = (found[key] - yardstick[key]).abs()
        cells[f"{key}: mean difference"] = f"{float(difference_M.mean()):.2e}"
        cells[f"{key}: largest"] = f"{float(difference_M.max()):.2e}"
    return Row(f"Against float32, {PLAIN}", cells)


def _gradients(policy: Any, sequences: Sequences, device: str) -> Iterator[Finding]:
    """Of log-probs and entropies, on the shorter rows."""
    policy.train()
    part = sequences.select(torch.tensor(SHORT))
    with sdpa_kernel(SDPBackend.MATH):  # also for recomputation
        objective(plain(policy, part, device, bf16=False), part).backward()
    # In host memory: with the others it would not fit on some GPUs.
    exact = [parameter.grad.cpu() for parameter in policy.parameters()]
    for bf16, precision in enumerate(("float32", "bf16")):
        policy.zero_grad()
        objective(fast(policy, part, device, bool(bf16), ATTENTION), part).backward()
        found = [parameter.grad for parameter in policy.parameters()]
        cosine, norm, difference, worst = agreement(found, exact)
        yield Row(
            f"Gradients, {TRAINING}, against float32, {PLAIN}",
            {
                "computed in": precision,
                "cosine": f"{cosine:.6f}",
                "norm / norm": f"{norm:.4f}",
                "|difference| / norm": f"{difference:.2e}",
                "worst weight's cosine": f"{worst:.4f}",
            },
        )
        if bf16:
            why = "rounding turns a step by no more than 8 degrees"
            yield above("bf16: gradient's cosine", cosine, COSINE, why)
            why = "what a limit of the gradient norm would not notice"
            yield below("bf16: gradient's norm, off by", abs(norm - 1), NORM, why)
        else:
            why = "only the order of sums differs"
            yield below("float32: gradient's |difference| / norm", difference, SAME, why)


def objective(found: Found, sequences: Sequences) -> Tensor:
    """Log-probs pushed up on one row and down on the next, and entropies a little."""
    row_M, _ = sequences.mask_NT.nonzero(as_tuple=True)
    sign_M = 1.0 - 2.0 * (row_M % 2)
    return (sign_M * found["logp"] + 0.1 * found["entropy"]).mean()


def agreement(found: list[Tensor], exact: list[Tensor]) -> tuple[float, float, float, float]:
    """Cosine, ratio of norms, difference over norm, and the cosine of the worst weight."""
    sums = torch.zeros(4, dtype=torch.float64)
    worst = 1.0
    for a, there in zip(found, exact, strict=True):
        b = there.to(a)
        part = torch.stack([(a * b).sum(), (a * a).sum(), (b * b).sum(), (a - b).square().sum()])
        part = part.double().cpu()
        sums += part
        worst = min(worst, float(part[0] / (part[1] * part[2]).sqrt()))
    dot, one, two, apart = sums.tolist()
    return dot / (one * two) ** 0.5, (one / two) ** 0.5, (apart / two) ** 0.5, worst
