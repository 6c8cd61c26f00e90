"""Log-probs of given completions: the one code path for policy, old policy and reference.

Only the hidden states of completion tokens reach the LM head, and they reach it in chunks that
are recomputed in the backward pass, so that the [tokens, vocabulary] logits never stand in memory
whole.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .sequences import Sequences

LOGITS_PER_CHUNK = 2**26  # elements; 256 MiB of fp32 logits at a time


def completion_logprobs(
    model: nn.Module,
    sequences: Sequences,
    temperature: float = 1.0,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-prob of every completion token, and on demand the entropy it was drawn from.

    Args:
        model: a Hugging Face causal LM, whose decoder and LM head are called in turn.
        sequences: N rows.
        temperature: logits are divided by it, as they were for sampling.
        entropy: also return entropies; they carry no gradient.

    Returns:
        float32 [N, T] each, 0 in the padding; the second is None unless asked for.
    """
    mask_NT = sequences.mask_NT
    row, column = mask_NT.nonzero(as_tuple=True)
    position = sequences.prompt_lengths_N[row] + column
    hidden_NLH = model.get_decoder()(  # pyright: ignore[reportCallIssue]
        input_ids=sequences.tokens_NL, use_cache=False
    ).last_hidden_state
    # The token at a position is predicted by the hidden state one before it.
    hidden_MH = hidden_NLH[row, position - 1]
    target_M = sequences.tokens_NL[row, position]
    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    logp_M, entropy_M = _chunked_head(head, hidden_MH, target_M, temperature, entropy)
    logp_NT = torch.zeros(mask_NT.shape, dtype=torch.float32, device=mask_NT.device)
    logp_NT = logp_NT.index_put((row, column), logp_M)
    if entropy_M is None:
        return logp_NT, None
    return logp_NT, torch.zeros_like(logp_NT).index_put((row, column), entropy_M)


def _chunked_head(
    head: nn.Module, hidden_MH: Tensor, target_M: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    vocabulary: int = head.weight.shape[0]  # pyright: ignore[reportAssignmentType, reportIndexIssue]
    size = max(1, LOGITS_PER_CHUNK // vocabulary)
    pieces = []
    for start in range(0, len(hidden_MH), size):
        rows = slice(start, start + size)
        arguments = (head, hidden_MH[rows], target_M[rows], temperature, entropy)
        if len(hidden_MH) > size and torch.is_grad_enabled():
            pieces.append(checkpoint(_head, *arguments, use_reentrant=False))
        else:
            pieces.append(_head(*arguments))
    logp_M = torch.cat([piece[0] for piece in pieces])
    return logp_M, torch.cat([piece[1] for piece in pieces]) if entropy else None


def _head(
    head: nn.Module, hidden_mH: Tensor, target_m: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logits_mV = head(hidden_mH).float() / temperature
    normaliser_m = logits_mV.logsumexp(-1)
    logp_m = logits_mV.gather(-1, target_m[:, None]).squeeze(-1) - normaliser_m
    if not entropy:
        return logp_m, None
    with torch.no_grad():
        probabilities_mV = (logits_mV - normaliser_m[:, None]).exp()
        entropy_m = normaliser_m - (probabilities_mV * logits_mV).sum(-1)
    return logp_m, entropy_m
