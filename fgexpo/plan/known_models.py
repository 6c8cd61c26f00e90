"""The shapes of well-known models, to plan without a folder and without the hub."""

import sys
from pathlib import Path
from typing import Any

from transformers import AutoConfig, Qwen2Config, Qwen3Config

from ..model.loading import load_config, resolve_name


def r1_distill_1p5b() -> Qwen2Config:
    """DeepSeek-R1-Distill-Qwen-1.5B: 1,777,088,000 parameters."""
    return Qwen2Config(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        bos_token_id=151646,
        eos_token_id=151643,
    )


def qwen3_8b_base() -> Qwen3Config:
    """Qwen3-8B-Base: 8,190,735,360 parameters."""
    return Qwen3Config(
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        bos_token_id=151643,
        eos_token_id=151643,
    )


SHAPES = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": r1_distill_1p5b,
    "Qwen/Qwen3-8B-Base": qwen3_8b_base,
}


def find_config(name: str) -> tuple[Any, str]:
    """A model's configuration, and where it was found.

    A folder comes first, then the local cache of the hub, then the shapes above, and the hub last:
    without a network it answers only after half a minute of retries.

    Raises:
        UserError: when the name is found nowhere.
    """
    known = SHAPES.get(name)
    place = resolve_name(name)
    if Path(place).is_dir():
        return load_config(name), f"{place}/config.json"
    try:
        return AutoConfig.from_pretrained(place, local_files_only=True), "the hub's local cache"
    except (OSError, ValueError):
        if known is not None:
            return known(), "built in (fgexpo/plan/known_models.py); the hub was not asked"
    print(f"asking the Hugging Face Hub for the shape of {name!r} ...", file=sys.stderr)
    return load_config(name), "the Hugging Face Hub"
