"""Log-probs of chosen tokens without full logits: the LM head in slices, forward and backward.

The vocabulary is cut into slices, not the tokens, so that each slice of the head's gradient is
written once; the backward pass recomputes a slice's logits instead of keeping them. The full
[tokens, vocabulary] matrix is never in memory, while each matrix product stays large.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .head_slices import slices

# Settings by which some architectures change the logits after the head; not supported here.
_LOGIT_CHANGES = (
    "final_logit_softcapping",
    "lm_head_multiplier",
    "logit_scale",
    "logits_scaling",
    "logits_soft_cap",
    "output_logit_soft_cap",
)


def head_logprobs(
    head: Any, hidden_MH: Tensor, target_M: Tensor, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-prob of one token per position, and optionally the entropy of the distribution.

    Args:
        head: the model's output embeddings, linear without bias.
        hidden_MH: the last hidden states, [M, H].
        target_M: the token whose log-prob is wanted, int64 [M].
        temperature: logits are divided by it.
        entropy: also return entropies.

    Returns:
        [M] each, both with gradient, float32 or float64 as :func:`precise` has it; the second is
        None unless asked for.
    """
    device = hidden_MH.device.type
    dtype = (
        torch.get_autocast_dtype(device)
        if torch.is_autocast_enabled(device)
        else torch.promote_types(hidden_MH.dtype, head.weight.dtype)
    )
    with torch.autocast(device, enabled=False):
        found: Any = _Head.apply(hidden_MH, head.weight, target_M, temperature, entropy, dtype)
    return found if entropy else (found, None)


def check_head(model: Any) -> None:
    """Check that the model's logits are its LM head's output and nothing more.

    Raises:
        UserError: for a bias, or for a configuration that scales or caps logits.
    """
    config = model.config.get_text_config()
    for setting in _LOGIT_CHANGES:
        value = getattr(config, setting, None)
        if value is not None and (value != 1 or "cap" in setting):
            raise UserError(
                f"model.name: the model's {setting} = {value} changes its logits, which is not "
                "supported"
            )
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise UserError(
            f"model.name: an LM head that is linear and without bias is needed, got {head}"
        )


class _Head(torch.autograd.Function):
    """Goes through the vocabulary in slices; the logits are computed twice and never kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_MH: Tensor,
        weight_VH: Tensor,
        target_M: Tensor,
        temperature: float,
        entropy: bool,
        dtype: torch.dtype,
    ) -> Any:
        """Log-probs of the targets [M], and the entropies [M] if they are asked for."""
        parts = slices(hidden_MH.to(dtype), weight_VH, temperature)
        chosen_M = parts.new_column()
        partial_lse, partial_mean = [], []  # of each slice
        for start, logits_Mv in parts:
            lse_M, mean_M = parts.summarise(logits_Mv, start, target_M, chosen_M, entropy)
            partial_lse.append(lse_M)
            partial_mean.append(mean_M)
        lse_KM = torch.stack(partial_lse)
        lse_M = lse_KM.logsumexp(0)
        logp_M, entropy_M = chosen_M - lse_M, None
        if entropy:
            entropy_M = lse_M - ((lse_KM - lse_M).exp() * torch.stack(partial_mean)).sum(0)
        ctx.save_for_backward(hidden_MH, weight_VH, target_M, lse_M, entropy_M)
        ctx.temperature, ctx.dtype = temperature, dtype
        # An entropy that is only logged then costs nothing here.
        ctx.set_materialize_grads(False)
        return logp_M if entropy_M is None else (logp_M, entropy_M)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of hidden states [M, H] and weights [V, H], slice by slice."""
        hidden_MH, weight_VH, target_M, lse_M, entropy_M = ctx.saved_tensors
        by_logp, by_entropy = (*gradients, None)[:2]
        by_logp = lse_M.new_zeros(lse_M.shape) if by_logp is None else by_logp.contiguous()
        by_entropy = None if by_entropy is None else by_entropy.contiguous()
        hidden = hidden_MH.to(ctx.dtype)
        parts = slices(hidden, weight_VH, ctx.temperature)
        wanted_hidden, wanted_weight = ctx.needs_input_grad[:2]
        # Summed over the slices in full precision.
        by_hidden = torch.zeros_like(hidden_MH, dtype=parts.precise) if wanted_hidden else None
        by_weight = torch.empty_like(weight_VH) if wanted_weight else None
        for start, logits_Mv in parts:
            rows = slice(start, start + logits_Mv.shape[1])
            gradient = parts.gradient(
                logits_Mv, start, target_M, lse_M, by_logp, entropy_M, by_entropy
            )
            if by_hidden is not None and parts.precise == ctx.dtype:
                by_hidden.addmm_(gradient, parts.weight(rows))
            elif by_hidden is not None:
                by_hidden.add_(gradient @ parts.weight(rows))
            if by_weight is not None:
                by_weight[rows] = gradient.t() @ hidden
        by_hidden = None if by_hidden is None else by_hidden.to(hidden_MH.dtype)
        return by_hidden, by_weight, None, None, None, None
