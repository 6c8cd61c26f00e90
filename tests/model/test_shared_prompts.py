"""Rows with shared prompts against padded rows of each sequence whole."""

import pytest
import torch
from near import same
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from fgexpo.groups import Groups
from fgexpo.model import shared_prompts
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join
from fgexpo.model.shared_prompts import Continued, SharedPacked, arrange
from fgexpo.types import Completions

SHAPE = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
}  # fmt: skip
GROUP = 3
PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10], [11, 12, 13, 14, 15, 16, 17], [18, 19, 20, 21]]
# Of one token, whose row has nothing to add to its prompt; alike; and one long one.
LENGTHS = [4, 1, 2, 5, 5, 1, 9, 1, 1, 3, 4, 2]


@pytest.fixture
def sequences():
    generator = torch.Generator().manual_seed(0)
    width = max(LENGTHS)
    tokens_NT = torch.randint(1, 40, (len(LENGTHS), width), generator=generator)
    done = Completions(tokens_NT, torch.tensor(LENGTHS), [], torch.zeros(len(LENGTHS), width))
    return join(PROMPTS, done, Groups([GROUP] * len(PROMPTS)))


def gradients(model, sequences):
    model.zero_grad()
    logp_NT, entropy_NT = completion_logprobs(model, sequences, entropy=True)
    scales_NT = torch.arange(logp_NT.numel()).view_as(logp_NT).sin()
    (logp_NT * scales_NT + entropy_NT * scales_NT.flip(0)).sum().backward()
    return logp_NT.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("config", [LlamaConfig(**SHAPE), Qwen3Config(**SHAPE, head_dim=8)])
@pytest.mark.parametrize(
    ("call_cells", "mask_cells", "buckets"),
    [(2**15, 2**20, 1), (0, 2**20, 5), (2**15, 120, 4)],
    ids=["one", "cut by padding", "cut by mask"],
)
def test_shared_rows_equal_whole_ones(
    config, call_cells, mask_cells, buckets, sequences, monkeypatch
):
    monkeypatch.setattr(shared_prompts, "CALL_CELLS", call_cells)
    monkeypatch.setattr(shared_prompts, "MASK_CELLS", mask_cells)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double()
    expected, expected_gradients = gradients(model, sequences)
    assert enable_packing(model)
    packed = arrange(sequences)
    assert isinstance(packed, SharedPacked)
    assert sum(isinstance(b, Continued) for b in packed.segments.buckets) == buckets
    found, found_gradients = gradients(model, sequences)
    same(found, expected)
    assert expected.std() > 0.1
    for a, b in zip(found_gradients, expected_gradients, strict=True):
        same(a, b)


def test_no_token_is_computed_twice_or_for_nothing(sequences):
    packed = arrange(sequences)
    rest = [length - 1 for length in LENGTHS]
    assert packed.tokens_1M.shape[1] == sum(map(len, PROMPTS)) + sum(rest)
    for n, length in enumerate(sequences.lengths_N.tolist()):
        position_M = torch.arange(length - 1)
        place_M = packed.places(torch.full_like(position_M, n), position_M)
        row_M = packed.tokens_1M[0, place_M]
        assert torch.equal(row_M, sequences.tokens_NL[n, : length - 1])
        assert torch.equal(packed.position_1M[0, place_M], position_M)


def test_parts_of_groups_share_too(sequences):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE)).double()
    rows = torch.tensor([10, 0, 7, 2, 8])
    expected, _ = completion_logprobs(model, sequences.select(rows))
    enable_packing(model)
    assert isinstance(arrange(sequences.select(rows)), SharedPacked)
    found, _ = completion_logprobs(model, sequences.select(rows))
    same(found, expected)


def test_completions_of_one_token_alone():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE)).double()
    done = Completions(torch.tensor([[5], [6]]), torch.tensor([1, 1]), [], torch.zeros(2, 1))
    sequences = join([[1, 2, 3]], done, Groups([2]))
    expected, _ = completion_logprobs(model, sequences)
    enable_packing(model)
    assert arrange(sequences).tokens_1M.tolist() == [[1, 2, 3]]
    found, _ = completion_logprobs(model, sequences)
    same(found, expected)


def test_masks_that_would_be_large_are_not_made(sequences, monkeypatch):
    # Eight tokens after the first, of which the last sees seven of the prompt and eight.
    monkeypatch.setattr(shared_prompts, "MASK_CELLS", 8 * (7 + 8))
    assert isinstance(arrange(sequences), SharedPacked)
    monkeypatch.setattr(shared_prompts, "MASK_CELLS", 8 * (7 + 8) - 1)
    assert not isinstance(arrange(sequences), SharedPacked)


def test_long_completions_are_laid_out_whole():
    done = Completions(
        torch.ones(4, 100, dtype=torch.int64), torch.full((4,), 100), [], torch.zeros(4, 100)
    )
    assert not isinstance(arrange(join([[1, 2, 3], [4, 5]], done, Groups([2, 2]))), SharedPacked)
