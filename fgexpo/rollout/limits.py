"""How far an engine's log-probs may be from the trainer's, on average, by rounding alone."""

import torch
from torch import nn

# Largest mean |log-prob of the engine - log-prob of the trainer| for what each computes in.
LIMITS = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.05}
# The engine that shares the trainer's weights and kernels. Measured on random models: float32 2e-7
# to 4e-6, bf16-mixed 2e-3, but 0.06 with weights so large that the logits are tens of nats. There
# is room above, since no healthy run may end by it; a wrong mask or position costs whole nats.
NATIVE_LIMITS = {"float64": 1e-6, "float32": 1e-3, "bfloat16": 0.3, "float16": 0.05}


def trainer_dtype(policy: nn.Module, device: torch.device) -> str:
    """The dtype of the trainer's own log-probs: autocast's, or the weights'."""
    if torch.is_autocast_enabled(device.type):
        return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    return str(next(policy.parameters()).dtype).removeprefix("torch.")


def matmul_dtype(dtype: str, device: torch.device) -> str:
    """What products are rounded to: float32 may stand for TF32, whose steps are float16's."""
    coarse = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    return "float16" if coarse and dtype == "float32" else dtype
