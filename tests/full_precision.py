"""Lets float64 models compute in float64: transformers' norms and rotations go through float32.

Where a sum in another order has moved a number by 1e-16, that rounding makes it 1e-7 now and then,
depending on the processor. Other dtypes are computed as they were.
"""

import torch
from transformers.models.llama import modeling_llama as llama
from transformers.models.qwen2 import modeling_qwen2 as qwen2
from transformers.models.qwen3 import modeling_qwen3 as qwen3

NORMS = (qwen2.Qwen2RMSNorm, qwen3.Qwen3RMSNorm, llama.LlamaRMSNorm)
ROTATIONS = (
    qwen2.Qwen2RotaryEmbedding, qwen3.Qwen3RotaryEmbedding, llama.LlamaRotaryEmbedding
)  # fmt: skip


def _norm(original):
    def forward(self, hidden):
        if hidden.dtype != torch.float64:
            return original(self, hidden)
        mean = hidden.square().mean(-1, keepdim=True)
        return self.weight * (hidden * torch.rsqrt(mean + self.variance_epsilon))

    return forward


def _rotate(original):
    def forward(self, hidden, position_ids):
        if hidden.dtype != torch.float64:
            return original(self, hidden, position_ids)
        angles = (position_ids[..., None].double() * self.inv_freq.double()).repeat(1, 1, 2)
        return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling

    return forward


for kind in NORMS:
    kind.forward = _norm(kind.forward)
for kind in ROTATIONS:
    kind.forward = _rotate(kind.forward)
