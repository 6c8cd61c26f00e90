"""Padding-free rows against padded ones and against each sequence alone."""

import pytest
import torch
from helpers import fit
from near import same
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen3Config

from fgexpo.model import packing
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import Segments, enable_packing, is_packed, lay_out, packed_hidden
from fgexpo.model.sequences import join_solutions

SHAPE = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
}  # fmt: skip
# Some alike, some not, and one much longer than all others.
LENGTHS = [3, 17, 4, 4, 16, 1, 5, 40, 4]


@pytest.fixture
def sequences():
    generator = torch.Generator().manual_seed(0)

    def tokens(n):
        return torch.randint(1, 40, (n,), generator=generator).tolist()

    return join_solutions([tokens(1 + n % 3) for n in range(9)], [tokens(n) for n in LENGTHS])


def gradients(model, sequences):
    model.zero_grad()
    logp_NT, _ = completion_logprobs(model, sequences)
    (logp_NT * torch.arange(logp_NT.numel()).view_as(logp_NT).sin()).sum().backward()
    return logp_NT.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("config", [LlamaConfig(**SHAPE), Qwen3Config(**SHAPE, head_dim=8)])
@pytest.mark.parametrize("limit", [1.0, 1.25, 100.0])
def test_packed_rows_equal_padded_ones(config, sequences, limit, monkeypatch):
    monkeypatch.setattr(packing, "MAX_PADDING", limit)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double()
    expected, expected_gradients = gradients(model, sequences)
    assert enable_packing(model) and is_packed(model)
    found, found_gradients = gradients(model, sequences)
    same(found, expected)
    assert expected.std() > 0.1
    for a, b in zip(found_gradients, expected_gradients, strict=True):
        same(a, b)


def test_buckets():
    def buckets(lengths, limit):
        found = packing._similar(tuple(lengths), limit)
        return [(start, list(part)) for start, part in found]

    assert buckets([5, 5, 5], 1.0) == [(0, [5, 5, 5])]
    # 10 + 8 + 7 = 25 of 30 is a waste of 1.2; with 4 it would be 40 / 29 = 1.38.
    assert buckets([10, 8, 7, 4], 1.25) == [(0, [10, 8, 7]), (25, [4])]
    assert buckets([10, 8, 7, 4], 1.0) == [(0, [10]), (10, [8]), (18, [7]), (25, [4])]
    assert Segments([5, 5, 3], torch.device("cpu")).buckets[0].place.tolist() == [
        *range(10),
        *range(10, 13),
    ]
    assert Segments([5, 5], torch.device("cpu")).buckets[0].place is None


def test_layout_is_longest_first_without_padding(sequences):
    packed = lay_out(sequences)
    assert packed.tokens_1M.shape == (1, int(sequences.lengths_N.sum()))
    for n, length in enumerate(sequences.lengths_N.tolist()):
        start = int(packed.offset_N[n])
        assert packed.position_1M[0, start : start + length].tolist() == list(range(length))
        row = packed.tokens_1M[0, start : start + length]
        assert torch.equal(row, sequences.tokens_NL[n, :length])
    assert int(packed.offset_N[LENGTHS.index(40)]) == 0


def test_generation_with_padding_on_the_left_is_as_before(model_folder):
    model = load_model(model_folder)
    tokens = torch.tensor([[0, 0, 3, 4, 5], [6, 7, 8, 9, 10]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    given = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions}
    expected = model(**given).logits
    assert enable_packing(model)
    assert torch.equal(model(**given).logits, expected)


def test_sliding_windows_and_other_kernels_keep_padded_rows():
    window = AutoModelForCausalLM.from_config(MistralConfig(**SHAPE, sliding_window=8))
    assert not enable_packing(window)
    eager = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), attn_implementation="eager")
    assert not enable_packing(eager)


def test_a_decoder_that_loses_the_segments_is_refused(sequences):
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE))
    enable_packing(model)
    decoder = model.get_decoder()

    class Forgetful:
        config = decoder.config

        def __call__(self, segments, **options):
            return decoder(**options)

    with pytest.raises(RuntimeError, match="0 of 2 attention layers were told"):
        packed_hidden(Forgetful(), lay_out(sequences))


def test_training_makes_the_same_updates_with_and_without(model_folder, tmp_path, monkeypatch):
    def final():
        module = fit(model_folder, tmp_path, 2, kl_coef=0.1, micro_batch_tokens=60)[0]
        return torch.cat([p.detach().flatten() for p in module.policy.parameters()]), module

    packed, module = final()
    assert is_packed(module.policy) and is_packed(module.reference.model)
    files = module.archive.files(module.policy, module.prompts.tokenizer)
    assert packing.ATTENTION not in str(files), "an exported model knows nothing of it"
    monkeypatch.setattr("fgexpo.model.exactness.enable_packing", lambda model: False)
    padded, module = final()
    assert not is_packed(module.policy)
    same(packed, padded)
