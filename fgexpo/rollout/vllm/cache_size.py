"""The size of vLLM's KV cache, and how much of it a run can use."""

import math
import os
from typing import Any

import torch

BLOCK = 128  # tokens per block of vLLM's cache on a CPU


def head_width(config: Any) -> int:
    """Channels of an attention head."""
    own = getattr(config, "head_dim", None)
    return own or config.hidden_size // config.num_attention_heads


def token_bytes(config: Any, dtype: torch.dtype, parallel: int = 1) -> int:
    """Bytes of keys and values per token on one device; heads are repeated, never split."""
    heads = max(1, config.num_key_value_heads // parallel)
    return 2 * config.num_hidden_layers * heads * head_width(config) * dtype.itemsize


def cpu_cache_bytes(a_token: int, sequences: int, longest: int, memory: float) -> int:
    """Room for all sequences at full length, or the share ``memory`` of the host's memory if less.

    On a CPU, vLLM would take a share of its memory node, minus what the process holds. A node may
    report only a part of the host's memory (measured: 9 of 24 GiB, and growing), which would then
    leave nothing.
    """
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    blocks = (sequences + 1) * math.ceil(longest / BLOCK)
    return min(blocks * BLOCK * a_token, int(memory * host))
