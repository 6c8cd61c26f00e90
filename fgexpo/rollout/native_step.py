"""A token for each row on a CPU, by the decoder's parts alone.

A model's own ``forward`` makes a mask and positions anew for every token, and calls its parts
through layers of wrappers. On a CPU the decoding of a small model is mostly the start of such small
operations. Here the same products, norms and activations get the same numbers, so the logits are
the same to the last bit. An engine's check at the start of a run compares them with the model's own
forward pass, as it does for every model.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ..heartbeat import beat, compute
from ..model.packing import is_packed, one_token
from ..model.precision import precise
from .native_cache import RoomyLayer

# Decoders that are these steps and no others: norm, rotary attention, norm, MLP, with residuals.
PLAIN = {
    "transformers.models.llama.modeling_llama.LlamaForCausalLM",
    "transformers.models.qwen2.modeling_qwen2.Qwen2ForCausalLM",
}


def is_plain(policy: Any, cache: DynamicCache) -> bool:
    """Whether :func:`next_logits` does what this model's own forward pass does.

    Args:
        policy: the causal LM; in eval mode, on a CPU, and without autocast.
        cache: of the rows.
    """
    kind, weight = type(policy), policy.get_input_embeddings().weight
    return (
        f"{kind.__module__}.{kind.__qualname__}" in PLAIN
        and is_packed(policy)
        and policy.config.num_attention_heads > policy.config.num_key_value_heads
        and all(type(layer) is RoomyLayer for layer in cache.layers)
        and weight.device.type == "cpu"
        and weight.dtype == precise(weight.dtype)
        and not policy.training
        and not torch.is_autocast_enabled("cpu")
    )


def next_logits(
    policy: Any, token_N: Tensor, position_N1: Tensor, seen_NL: Tensor | None, cache: DynamicCache
) -> Tensor:
    """Logits of the token after these, [N, V]; these are added to the cache.

    Args:
        policy: a model that :func:`is_plain` has accepted.
        token_N: each row's newest token, int64 [N].
        position_N1: its position, int64 [N, 1].
        seen_NL: which places of the cache each row may see, these tokens' included, bool [N, L];
            None for all.
        cache: with L - 1 tokens.
    """
    decoder = policy.get_decoder()
    compute(True)
    hidden_NH = decoder.embed_tokens(token_N)
    cos_N1d, sin_N1d = decoder.rotary_emb(hidden_NH, position_N1)
    first_N1h, second_N1h = sin_N1d.chunk(2, -1)
    turn = (cos_N1d, torch.cat([-first_N1h, second_N1h], -1))
    mask_N11L = None if seen_NL is None else seen_NL[:, None, None]
    for layer, held in zip(decoder.layers, cache.layers, strict=True):
        normed_NH = layer.input_layernorm(hidden_NH)
        hidden_NH = hidden_NH + _attend(layer.self_attn, normed_NH, turn, mask_N11L, held)
        hidden_NH = hidden_NH + layer.mlp(layer.post_attention_layernorm(hidden_NH))
        beat()
    return policy.get_output_embeddings()(decoder.norm(hidden_NH))


def _attend(
    attention: Any,
    hidden_NH: Tensor,
    turn: tuple[Tensor, Tensor],
    mask_N11L: Tensor | None,
    held: Any,
) -> Tensor:
    """Attention of one token per row, [N, H]."""
    width = attention.head_dim
    # Not turned as one: so many numbers begin to be shared out to threads, which wakes them up.
    query_Nh1d, key_Nh1d = (
        _turned(project(hidden_NH).unflatten(1, (-1, width)), *turn).unsqueeze(2)
        for project in (attention.q_proj, attention.k_proj)
    )
    value_Nh1d = attention.v_proj(hidden_NH).unflatten(1, (-1, 1, width))
    keys, values = held.update(key_Nh1d, value_Nh1d)
    found_N1hd = one_token(query_Nh1d, keys, values, mask_N11L, attention.scaling)
    return attention.o_proj(found_N1hd.flatten(1))


def _turned(heads_Nhd: Tensor, cos_N1d: Tensor, sin_N1d: Tensor) -> Tensor:
    """Queries or keys turned by their position; the first half of the sine is negative.

    A decoder negates the second half of the heads instead, which rounds to the same.
    """
    first_Nhe, second_Nhe = heads_Nhd.chunk(2, -1)
    return heads_Nhd * cos_N1d + torch.cat([second_Nhe, first_Nhe], -1) * sin_N1d
