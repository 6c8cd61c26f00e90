"""The longest sequence of a model, from its configuration."""

import pytest
from helpers import make_module
from transformers import AutoConfig

from fgexpo.model.positions import position_limit
from fgexpo.rollout import Sampling

LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 40,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
}
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4}


def longrope(**options):
    return AutoConfig.for_model(
        "phi3",
        **SIZES,
        max_position_embeddings=256,
        original_max_position_embeddings=40,
        rope_parameters=LONG,
        pad_token_id=0,
        **options,
    )


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (AutoConfig.for_model("qwen2", max_position_embeddings=77), 77),
        (AutoConfig.for_model("gpt2", n_positions=78), 78),
        (AutoConfig.for_model("mpt", max_seq_len=79), 79),
        (AutoConfig.for_model("bloom"), None),
        (AutoConfig.for_model("gemma3", text_config={"max_position_embeddings": 80}), 80),
        (longrope(), 40),
    ],
)
def test_the_limit(config, tokens):
    assert position_limit(config).tokens == tokens


def test_longrope_is_refused_where_it_would_change(model_folder, monkeypatch):
    """Keys of the cache and short rows beside a long one would be turned by other angles."""
    monkeypatch.setattr("fgexpo.policy.load_config", lambda name: longrope())
    make_module(model_folder, max_prompt_tokens=32, sampling=Sampling(8))
    words = (
        r"make 41 tokens, but the model's original_max_position_embeddings, .* longrope .* is 40"
    )
    with pytest.raises(ValueError, match=words):
        make_module(model_folder, max_prompt_tokens=33, sampling=Sampling(8))
