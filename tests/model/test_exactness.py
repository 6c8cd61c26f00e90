"""The trial that a model goes through when it is opened."""

import copy
import json

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from fgexpo.errors import UserError
from fgexpo.model import exactness
from fgexpo.model.exactness import Trial, choose_rows, small
from fgexpo.model.packing import is_packed
from fgexpo.policy import check_policy
from fgexpo.rollout import Native


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(exactness, "_found", {})


def tiny(kind="llama", **options):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, **{**sizes, **heads, "initializer_range": 0.3, "pad_token_id": 0, **options}
    )
    return AutoModelForCausalLM.from_config(config).eval()


def test_a_trial_leaves_no_trace(monkeypatch):
    """Weights, settings, mode and random numbers, of a model that is tried as a small one too."""
    for limit in (0, 2**26):
        monkeypatch.setattr(exactness, "MANY_PARAMETERS", limit)
        model = tiny(tie_word_embeddings=True).train()
        weights, state = list(model.named_parameters()), torch.get_rng_state()
        values = copy.deepcopy(model.state_dict())
        settings = json.loads(model.config.to_json_string())
        check_policy(model, Native())
        assert is_packed(model) and model.training
        assert [(n, id(w)) for n, w in weights] == [(n, id(w)) for n, w in model.named_parameters()]
        assert all(torch.equal(values[name], w) for name, w in model.state_dict().items())
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert json.loads(model.config.to_json_string()) == settings
        assert len(model.model.layers) == 4 and torch.equal(torch.get_rng_state(), state)


def test_a_large_model_keeps_a_layer_of_each_kind(monkeypatch):
    monkeypatch.setattr(exactness, "MANY_PARAMETERS", 0)
    monkeypatch.setattr(exactness, "FEW_WORDS", 7)
    kinds = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
    model = tiny("qwen2", layer_types=kinds, sliding_window=8, use_sliding_window=True)
    with small(model):
        assert len(model.model.layers) == model.config.num_hidden_layers == 3
        assert model.config.layer_types == kinds[:3]
        assert model(input_ids=torch.tensor([[1, 2]])).logits.shape == (1, 2, 7)
    assert model.config.layer_types == kinds and len(model.lm_head.weight) == 50


def test_one_configuration_is_tried_once(monkeypatch):
    calls = []
    plain = exactness.plain_logprobs
    monkeypatch.setattr(exactness, "plain_logprobs", lambda *a: calls.append(a) or plain(*a))
    for _ in range(2):
        check_policy(tiny(), Native())
    assert len(calls) == 1
    check_policy(tiny(rms_norm_eps=1e-3), Native())
    assert len(calls) == 2


class Doubled(nn.Module):
    """Logits that are more than the LM head's output, which no setting gives away."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, **options):
        out = self.model(**options)
        out.logits = 2 * out.logits
        return out


def test_what_stands_behind_the_head_is_found():
    with pytest.raises(UserError, match=r"^model\.name: Doubled is not supported .* nats, against"):
        check_policy(Doubled(tiny()), Native())


def test_what_is_random_in_training_is_found():
    model = tiny(attention_dropout=0.5)
    with pytest.raises(UserError, match=r"LlamaForCausalLM is not supported in training.* off by"):
        choose_rows(model)


def test_a_row_that_sees_its_neighbour_is_padded(monkeypatch):
    """A model whose settings let it be packed, but which is not right then."""
    model = tiny("mistral", sliding_window=None)
    monkeypatch.setattr("fgexpo.model.packing.Bucket.attend", _without_cause)
    choose_rows(model)
    assert not is_packed(model) and model.config._attn_implementation == "sdpa"


def _without_cause(self, module, query, key, value, options):
    q, k, v = (self.pad(row) for row in (query, key, value))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    found = nn.functional.scaled_dot_product_attention(q, k, v)
    return self.unpad(found.transpose(1, 2))


def test_a_cache_that_is_wrong_is_found(monkeypatch):
    model = tiny()
    monkeypatch.setattr("fgexpo.rollout.native_rows.Rows.repeat", lambda self, count: None)
    with pytest.raises(UserError, match=r"^model\.engine: Native cannot sample from a Llama"):
        check_policy(model, Native())


def test_numbers_that_are_not_finite_are_found(tmp_path):
    model = tiny()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(UserError, match="numbers that are not finite"):
        choose_rows(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_have_other_limits(dtype):
    model = tiny().to(dtype)
    check_policy(model, Native())
    assert is_packed(model)
    assert Trial(model).fault("none", lambda: torch.zeros(4, 6)) is not None


def test_the_trial_is_on_the_cpu_whatever_the_default():
    """Lightning's default device is the GPU when a run on one opens its models."""
    model = tiny()
    with torch.device("meta"):
        check_policy(model, Native())
    assert is_packed(model)
