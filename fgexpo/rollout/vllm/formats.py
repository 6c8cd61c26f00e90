"""Translates settings into vLLM's and its server's terms, and their output into completions."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from ...questions import FinishReason
from ...types import Completions
from ..engine import RolloutRequest

T = TypeVar("T")


def cpu_arguments(longest: int, cache_bytes: int) -> dict[str, Any]:
    """No chunked prefill on a CPU: with it, vLLM 0.32 cannot take back a seeded draw there."""
    return {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(longest, 8192),
        "kv_cache_memory_bytes": cache_bytes,
    }


def sampling_arguments(request: RolloutRequest) -> dict[str, Any]:
    """A request's sampling settings and stops under the names of vLLM and its server."""
    sampling, stops = request.sampling, request.stop_strings
    text = {
        "stop": [] if stops is None else list(stops.strings),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
    }
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "max_tokens": sampling.max_new_tokens,
        "stop_token_ids": request.stop_ids,
        "ignore_eos": True,  # the stop ids include it; vLLM's own may differ
        "logprobs": 0,  # only of the token drawn
        "detokenize": stops is not None,
        **(text if stops else {}),
    }


def to_ask(request: RolloutRequest, rollouts: int) -> int:
    """How many of a question's rollouts are asked for: greedy ones are all the same, so one."""
    return 1 if request.sampling.temperature == 0 else rollouts


def to_all(found: list[T], asked: int, rollouts: int) -> list[T]:
    """A question's rollouts; the one that was asked for, as often as it is needed.

    Raises:
        ValueError: when there are more or fewer than were asked for.
    """
    if len(found) != asked:
        raise ValueError(f"{len(found)} rollouts instead of {asked}")
    return found * (rollouts // asked)


def read_samples(samples: Sequence[Any]) -> tuple[list[list[int]], list[list[float]], list[str]]:
    """Tokens, their log-probs and why each ended, of vLLM's samples with flat log-probs.

    Args:
        samples: vLLM's ``CompletionOutput``, asked for with ``logprobs=0`` and ``flat_logprobs``.

    Raises:
        RuntimeError: when a sample's log-probs are not those of its tokens, one each.
    """
    tokens: list[list[int]] = []
    for sample in samples:
        ids = list(sample.token_ids)
        if sample.logprobs.token_ids != ids:
            raise RuntimeError(
                f"vLLM gave log-probs of {len(sample.logprobs.token_ids)} tokens for a rollout of "
                f"{len(ids)} tokens, or of other tokens than it drew"
            )
        tokens.append(ids)
    logps = [sample.logprobs.logprobs for sample in samples]
    return tokens, logps, [sample.finish_reason for sample in samples]


def to_completions(
    tokens: Sequence[Sequence[int] | np.ndarray],
    logps: Sequence[Sequence[float] | np.ndarray],
    finish: Sequence[str],
    device: torch.device,
) -> Completions:
    """Pad the engine's samples.

    Args:
        tokens: ids of each of the N samples.
        logps: log-probs of these.
        finish: why each ended.
        device: for the tensors.

    Raises:
        RuntimeError: when a sample ended neither by a stop token nor by the limit, or has not
            one log-prob per token.
    """
    reasons: list[FinishReason] = []
    for reason in finish:
        if reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a rollout for the reason {reason!r}")
        reasons.append("stop" if reason == "stop" else "length")
    lengths = [len(row) for row in tokens]
    if lengths != [len(row) for row in logps]:  # numpy would spread a single log-prob over a row
        raise RuntimeError("vLLM's log-probs are not one per token")
    width = max(lengths)
    tokens_NT = torch.zeros(len(lengths), width, dtype=torch.int64)
    logp_NT = torch.zeros(len(lengths), width)
    # Row by row through numpy's view: torch.tensor of lists takes ten times as long.
    for padded, rows in ((tokens_NT.numpy(), tokens), (logp_NT.numpy(), logps)):
        for row, (length, values) in enumerate(zip(lengths, rows, strict=True)):
            padded[row, :length] = values
    return Completions(
        tokens_NT.to(device), torch.tensor(lengths, device=device), reasons, logp_NT.to(device)
    )
