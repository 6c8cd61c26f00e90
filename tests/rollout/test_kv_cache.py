"""The cache with room against transformers' own, and the newest token's attention."""

import torch
from near import same
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, MistralConfig

from fgexpo.model.packing import enable_packing
from fgexpo.rollout.native_cache import ROOM, RoomyLayer, roomy_cache

SHAPE = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
}  # fmt: skip


def test_it_holds_what_the_librarys_holds_through_growth_repeats_and_selections():
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE)
    ours, theirs = roomy_cache(config), DynamicCache(config=config)
    assert all(type(layer) is RoomyLayer for layer in ours.layers)
    rows = 2
    for t in range(2 * ROOM + 5):
        length = 5 if t == 0 else 1
        for layer in range(2):
            key, value = torch.randn(2, rows, 2, length, 8)
            found, expected = (cache.update(key, value, layer) for cache in (ours, theirs))
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        for cache in (ours, theirs):
            if t == 1:
                cache.batch_repeat_interleave(3)
            if t in (7, 50):
                cache.batch_select_indices(torch.tensor([0, 2, 3] if t == 7 else [0, 2]))
        rows = ours.layers[0].keys.shape[0]
        assert ours.get_seq_length() == theirs.get_seq_length() == 5 + t


def test_a_token_is_written_in_place():
    cache = roomy_cache(LlamaConfig(**SHAPE))
    where = set()
    for _ in range(ROOM):
        keys, _ = cache.update(torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8), 0)
        where.add(keys.data_ptr())
    assert len(where) == 1


def test_layers_with_a_window_keep_their_own_kind():
    cache = roomy_cache(MistralConfig(**SHAPE, sliding_window=8))
    assert not any(isinstance(layer, RoomyLayer) for layer in cache.layers)


def test_decoding_equals_the_whole_forward_pass():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE)).double().eval()
    tokens = torch.randint(1, 40, (3, 9))
    # One row begins later: what stands on its left is padding.
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    position = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        expected = model(input_ids=tokens, attention_mask=mask, position_ids=position).logits
        enable_packing(model)
        cache = roomy_cache(model.config)
        for first, last in ((0, 4), *((n, n + 1) for n in range(4, 9))):
            found = model(
                input_ids=tokens[:, first:last],
                attention_mask=mask[:, :last],
                position_ids=position[:, first:last],
                past_key_values=cache,
                use_cache=True,
            ).logits
            same(found[:, -1], expected[:, last - 1])
    assert expected.std() > 0.1
