"""Log-probs of chosen tokens without full logits: the LM head in slices, forward and backward.

The vocabulary is cut into slices, not the tokens, so that each slice of the head's gradient is
written once; the backward pass recomputes a slice's logits instead of keeping them. The full
[tokens, vocabulary] matrix is never in memory, while each matrix product stays large.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..heartbeat import beat
from .precision import precise

# Elements of fp32 logits at a time: 64 MiB on a CPU; a GPU needs more rows to stay busy.
LOGITS_PER_CHUNK = {"cpu": 2**24, "cuda": 2**27}
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
        slices = _Slices(hidden_MH.to(dtype), weight_VH, temperature)
        chosen_M = slices.new_column()
        partial_lse, partial_mean = [], []  # of each slice
        for start, logits_Mv in slices:
            inside_M, place_M1 = _places(target_M, start, logits_Mv.shape[1])
            chosen_M = torch.where(inside_M, logits_Mv.gather(1, place_M1)[:, 0], chosen_M)
            top_M = logits_Mv.amax(1)
            shifted_Mv = logits_Mv.sub_(top_M[:, None])
            if entropy:
                weights_Mv = torch.exp(shifted_Mv, out=slices.spare(shifted_Mv))
                total_M = weights_Mv.sum(1)
                partial_mean.append(top_M + weights_Mv.mul_(shifted_Mv).sum(1) / total_M)
            else:
                total_M = shifted_Mv.exp_().sum(1)
            partial_lse.append(top_M + total_M.log())
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
        factor_M1 = (lse_M.new_zeros(lse_M.shape) if by_logp is None else by_logp)[:, None]
        hidden = hidden_MH.to(ctx.dtype)
        slices = _Slices(hidden, weight_VH, ctx.temperature)
        wanted_hidden, wanted_weight = ctx.needs_input_grad[:2]
        # Summed over the slices in full precision.
        by_hidden = torch.zeros_like(hidden_MH, dtype=slices.precise) if wanted_hidden else None
        by_weight = torch.empty_like(weight_VH) if wanted_weight else None
        for start, logits_Mv in slices:
            rows = slice(start, start + logits_Mv.shape[1])
            logp_Mv = logits_Mv.sub_(lse_M[:, None])
            if by_entropy is None:
                gradient_Mv = logp_Mv.exp_().mul_(-factor_M1)
            else:
                probability_Mv = torch.exp(logp_Mv, out=slices.spare(logp_Mv))
                gradient_Mv = logp_Mv.add_(entropy_M[:, None]).mul_(by_entropy[:, None])
                gradient_Mv.add_(factor_M1).mul_(probability_Mv).neg_()
            inside_M, place_M1 = _places(target_M, start, logits_Mv.shape[1])
            gradient_Mv.scatter_add_(1, place_M1, inside_M[:, None] * factor_M1)
            gradient = gradient_Mv.div_(ctx.temperature).to(ctx.dtype)
            if by_hidden is not None and slices.precise == ctx.dtype:
                by_hidden.addmm_(gradient, slices.weight(rows))
            elif by_hidden is not None:
                by_hidden.add_(gradient @ slices.weight(rows))
            if by_weight is not None:
                by_weight[rows] = gradient.t() @ hidden
        by_hidden = None if by_hidden is None else by_hidden.to(hidden_MH.dtype)
        return by_hidden, by_weight, None, None, None, None


class _Slices:
    """The logits of one slice of the vocabulary after another, all in the same memory.

    Fresh memory for each would cost more time than the arithmetic: the system clears it first.
    """

    def __init__(self, hidden: Tensor, weight_VH: Tensor, temperature: float) -> None:
        self.hidden = hidden
        self.weight_VH = weight_VH
        self.temperature = temperature
        self.precise = precise(hidden.dtype)
        limit = LOGITS_PER_CHUNK.get(hidden.device.type, LOGITS_PER_CHUNK["cuda"])
        self.width = min(len(weight_VH), max(1, limit // max(1, len(hidden))))
        self._logits = hidden.new_empty(len(hidden) * self.width, dtype=self.precise)
        self._spare: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.weight_VH), self.width):
            beat()
            weight = self.weight(slice(start, start + self.width))
            shape = (len(self.hidden), len(weight))
            logits_Mv = self._logits[: shape[0] * shape[1]].view(shape)
            if self.precise == self.hidden.dtype:
                torch.mm(self.hidden, weight.t(), out=logits_Mv)
            else:
                logits_Mv.copy_(self.hidden @ weight.t())
            yield start, logits_Mv if self.temperature == 1 else logits_Mv.div_(self.temperature)

    def weight(self, rows: slice) -> Tensor:
        """A slice of the head's rows in the computation's dtype."""
        return self.weight_VH[rows].to(self.hidden.dtype)

    def new_column(self) -> Tensor:
        """One number per token."""
        return self.hidden.new_zeros(len(self.hidden), dtype=self.precise)

    def spare(self, like: Tensor) -> Tensor:
        """Memory for a second matrix of this shape."""
        if self._spare is None:
            self._spare = torch.empty_like(self._logits)
        return self._spare[: like.numel()].view_as(like)


def _places(target_M: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Which targets lie in a slice of the vocabulary, and the column of each, [M, 1]."""
    place_M = target_M - start
    return (place_M >= 0) & (place_M < width), place_M.clamp(0, width - 1)[:, None]
