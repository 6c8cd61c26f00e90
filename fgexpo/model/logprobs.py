"""Log-probs of given completions: the one code path for policy, old policy and reference.

Only the hidden states of completion tokens reach the LM head, which never makes full logits.
"""

from functools import partial
from typing import Any

from torch import Tensor

from .lm_head import head_logprobs
from .packing import is_packed, packed_hidden
from .sequences import Sequences
from .shared_prompts import arrange

# A sharded model's method that gathers all of its weights for this computation.
LOGPROBS = "completion_logprobs"


def completion_logprobs(
    model: Any, sequences: Sequences, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-prob of every completion token, and optionally the entropy of its distribution.

    Args:
        model: a Hugging Face causal LM, whose decoder and LM head are called in turn.
        sequences: N rows.
        temperature: logits are divided by it, as they were for sampling.
        entropy: also return entropies.

    Returns:
        [N, T] each, float32 or, by a float64 model, float64; 0 in the padding, both with gradient;
        the second is None unless asked for.
    """
    compute = getattr(model, LOGPROBS, partial(compute_logprobs, model))
    return compute(sequences, temperature, entropy)


def compute_logprobs(
    model: Any, sequences: Sequences, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute :func:`completion_logprobs` for a model whose weights are all gathered."""
    mask_NT = sequences.mask_NT
    row, column = mask_NT.nonzero(as_tuple=True)
    position_M = sequences.prompt_lengths_N[row] + column
    # The hidden state at a position predicts the next token.
    hidden = _packed if is_packed(model) else _padded
    logp_M, entropy_M = head_logprobs(
        model.get_output_embeddings(),
        hidden(model.get_decoder(), sequences, row, position_M - 1),
        sequences.tokens_NL[row, position_M],
        temperature,
        entropy,
    )

    def place(values_M: Tensor) -> Tensor:
        return values_M.new_zeros(mask_NT.shape).index_put((row, column), values_M)

    return place(logp_M), None if entropy_M is None else place(entropy_M)


def freeze_unused(model: Any) -> None:
    """Freeze what no log-prob depends on, such as a vision tower: DDP would wait for its gradient.

    Args:
        model: a Hugging Face causal LM, with adapters or without.
    """
    parts = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    used = {id(weight) for part in parts for weight in part.parameters()}
    for weight in model.parameters():
        if id(weight) not in used:
            weight.requires_grad_(False)


def _packed(decoder: Any, sequences: Sequences, row_M: Tensor, position_M: Tensor) -> Tensor:
    packed = arrange(sequences)
    return packed_hidden(decoder, packed)[packed.places(row_M, position_M)]


def _padded(decoder: Any, sequences: Sequences, row_M: Tensor, position_M: Tensor) -> Tensor:
    hidden_NLH = decoder(input_ids=sequences.tokens_NL, use_cache=False).last_hidden_state
    return hidden_NLH[row_M, position_M]
