"""A CPU's short step gives the bits of the model's own call, and other models get that call."""

from collections import Counter

import pytest
import torch
from test_kv_cache import SHAPE
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from fgexpo.heartbeat import read
from fgexpo.model.beats import beat_by_layer
from fgexpo.model.lora import LoRA, adapt
from fgexpo.model.packing import enable_packing
from fgexpo.rollout import Native, RolloutRequest, Sampling, native_rows
from fgexpo.rollout.native_cache import roomy_cache
from fgexpo.rollout.native_step import is_plain

UNEVEN = [[3, 4, 5], [6], [7, 8, 9, 10, 11]]
EVEN = [[3, 4, 5], [6, 7, 8]]


def made(config, dtype=torch.float32, packed=True):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    if packed:
        enable_packing(model)
    return beat_by_layer(model)


def generated(model, prompts):
    """Tokens, log-probs and beats of rollouts that end at different lengths."""
    seeds = [[10 * q + g for g in range(5)] for q in range(len(prompts))]
    cpu = torch.device("cpu")
    request = RolloutRequest(prompts, seeds, Sampling(24), [1, 2, 3], cpu, 64)
    start = read().beats
    found = Native().generate(model, request)
    return found, read().beats - start


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("prompts", "adapters"), [(UNEVEN, False), (EVEN, True)])
def test_tokens_and_log_probs_are_those_of_the_models_own_call(
    kind, dtype, prompts, adapters, monkeypatch
):
    model = made(kind(**SHAPE), dtype)
    if adapters:
        adapt(model, LoRA(rank=2), seed=0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
        model.eval()
    calls, step = Counter(), native_rows.next_logits

    def counted(*args):
        calls["short"] += 1
        return step(*args)

    monkeypatch.setattr(native_rows, "next_logits", counted)
    found, beats = generated(model, prompts)
    assert calls["short"] == found.tokens_NT.shape[1] - 1 > 3
    assert len(set(found.lengths_N.tolist())) > 2, "rows must leave at different times"
    monkeypatch.setattr(native_rows, "is_plain", lambda *args: False)
    expected, expected_beats = generated(model, prompts)
    assert calls["short"] == found.tokens_NT.shape[1] - 1
    assert torch.equal(found.tokens_NT, expected.tokens_NT)
    assert torch.equal(found.logp_NT, expected.logp_NT)
    assert beats == expected_beats


def test_other_models_get_their_own_call():
    def plain(model):
        return is_plain(model, roomy_cache(model.config))

    shape = SHAPE | {"head_dim": 8}
    llama = made(LlamaConfig(**SHAPE))
    assert plain(llama)
    assert not plain(made(Qwen3Config(**shape))), "it has norms of queries and keys"
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    assert not plain(made(Qwen2Config(**SHAPE, **window)))
    assert not plain(made(LlamaConfig(**SHAPE | {"num_key_value_heads": 4})))
    assert not plain(made(LlamaConfig(**SHAPE), packed=False))
    assert not plain(made(LlamaConfig(**SHAPE), torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not plain(llama)
    assert not plain(llama.train())
