"""Translates settings into vLLM's and its server's terms, and their output into completions."""

from typing import Any

import torch

from ...questions import FinishReason
from ...types import Completions
from ..engine import RolloutRequest


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


def to_completions(
    tokens: list[list[int]], logps: list[list[float]], finish: list[str], device: torch.device
) -> Completions:
    """Pad the engine's samples.

    Raises:
        RuntimeError: when a sample ended neither by a stop token nor by the limit.
    """
    reasons: list[FinishReason] = []
    for reason in finish:
        if reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a rollout for the reason {reason!r}")
        reasons.append("stop" if reason == "stop" else "length")
    lengths_N = torch.tensor([len(row) for row in tokens], device=device)
    width = int(lengths_N.max())
    tokens_NT = torch.tensor([row + [0] * (width - len(row)) for row in tokens], device=device)
    logp_NT = torch.tensor([row + [0.0] * (width - len(row)) for row in logps], device=device)
    return Completions(tokens_NT, lengths_N, reasons, logp_NT)
