"""The dtype in which numbers about a policy are computed and kept."""

import torch


def precise(dtype: torch.dtype) -> torch.dtype:
    """Float32 for weights or logits of ``dtype``, and float64 for those of float64."""
    return torch.promote_types(dtype, torch.float32)
