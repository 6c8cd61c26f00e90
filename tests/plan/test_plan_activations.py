"""What a plan counts for activations, on fake tensors."""

from dataclasses import replace

import pytest
import torch
from plans import small
from transformers import Qwen2ForCausalLM

from fgexpo.plan.activations import Work, count, prepare, run, spread
from fgexpo.plan.adapters import Adapters
from fgexpo.plan.count_bytes import Bytes, StorageCounter, at_depth


def test_storage_is_counted_from_birth_to_end():
    known = torch.zeros(10)
    counter = StorageCounter([known])
    with counter:
        double = known * 2  # 40 bytes
        half = double.to(torch.bfloat16)  # 20
        view = double[2:].view(2, 4)
        del double
        assert counter.now == 60
        del view
        assert counter.now == 20
        known.add_(1)
        half = torch.zeros(3, dtype=torch.int64)  # 24, before the other 20 go
    assert (counter.now, counter.peak) == (24, 60)
    del half


def test_depths_are_run_only_as_far_as_needed():
    runs = []

    def straight(layers):
        runs.append(layers)
        return Bytes(10 * layers, 10 * layers + 7)

    def bent(layers):
        return Bytes(10 * layers, max(100, 10 * layers + 7))

    deep = small(num_hidden_layers=50)
    assert at_depth(straight, deep) == Bytes(500, 507)
    assert sorted(runs) == [2, 3]
    assert at_depth(bent, deep) == Bytes(500, 507)
    mixed = small(num_hidden_layers=6, layer_types=["full_attention"] * 5 + ["sliding_attention"])
    runs.clear()
    at_depth(straight, mixed)
    assert runs == [6]


def test_a_whole_model_is_what_two_depths_tell():
    deep = small(num_hidden_layers=7)
    for work in (Work(200, 50), Work(200, 50, checkpointing=True)):
        model = prepare(Qwen2ForCausalLM(deep), work)
        assert count(deep, replace(work, device="cpu")) == run(model, work)


@pytest.mark.parametrize("adapters", [None, Adapters(4)], ids=str)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_fake_tensors_count_as_real_ones_do(adapters, checkpointing, backward, dtype):
    config = small(num_hidden_layers=3, tie_word_embeddings=checkpointing)
    work = Work(
        tokens=100,
        longest=30,
        weights=dtype,
        autocast=dtype == torch.float32,
        backward=backward,
        entropy=not backward,
        checkpointing=checkpointing and backward,
        adapters=adapters,
        device="cpu",
    )
    model = Qwen2ForCausalLM(config).to(dtype)
    if adapters is not None:
        adapters.put_into(model)
    real = run(prepare(model, work), work)
    assert count(config, work) == real
    assert real.peak > real.kept > 0


def test_entropies_take_a_second_matrix_of_logits():
    config = small(vocab_size=5000)
    without = Work(2000, 64, backward=False, device="cpu")
    more = count(config, replace(without, entropy=True)).peak - count(config, without).peak
    assert more == pytest.approx(2000 * 5000 * 4, rel=0.01)


def test_no_matrix_of_tokens_by_tokens_is_made():
    one, two = (count(small(), Work(tokens, 64)).peak for tokens in (4096, 8192))
    assert two < 2.1 * one


def test_weights_are_kept_in_bf16_too_under_autocast_alone():
    # 8 x 12 more channels in one of the layer's three MLP matrices each, and their activations.
    work = Work(1, 1, autocast=True)
    narrow, wide = (small(intermediate_size=n) for n in (1200, 2400))
    more = count(wide, work).kept - count(narrow, work).kept
    weights = 3 * 8 * 1200 * 2
    assert weights < more < 1.4 * weights
    assert count(wide, replace(work, backward=False)).kept < 0.1 * weights
    gathered = replace(work, weights=torch.bfloat16)
    assert count(wide, gathered).kept - count(narrow, gathered).kept < 0.4 * weights


@pytest.mark.parametrize("tokens", [1, 40, 64, 65, 100, 1000, 16384])
def test_lengths_of_a_micro_batch(tokens):
    lengths = spread(tokens, 64)
    assert sum(lengths) == tokens
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] <= 64 and lengths[-1] > 0
