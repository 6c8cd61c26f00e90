"""Every architecture is right against its own forward pass, or refused before work starts."""

import re
import sys
from pathlib import Path

import pytest
import torch
from helpers import fit
from near import rounded

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from architectures import RIGHT, try_model, write_tiny
from tiny_models import MODELS

from fgexpo.callbacks import ExportPolicy
from fgexpo.errors import UserError
from fgexpo.model.exactness import plain_logprobs, probe_rows
from fgexpo.model.loading import load_model
from fgexpo.model.lora import LoRA
from fgexpo.rewards.reward import Reward

# What the sentence that refuses an architecture must say; all others are right.
REFUSED = {
    **dict.fromkeys(
        ("phi", "gptj", "codegen", "ctrl", "bert", "bert, decoder"), "linear and without bias"
    ),
    **dict.fromkeys(
        ("gemma2", "gemma3n_text", "vaultgemma", "nanochat"), "final_logit_softcapping"
    ),
    **dict.fromkeys(("cohere", "cohere2"), "logit_scale = 0.0625"),
    "granite": "logits_scaling = 4.0",
    "minicpm3": "logits_scaling",
    "falcon_h1": "lm_head_multiplier = 0.25",
    "recurrent_gemma": "logits_soft_cap",
    "xlstm": "output_logit_soft_cap",
    "llama4_text": "Llama4ForCausalLM is not supported in training",
    **dict.fromkeys(
        (
            "bamba",
            "falcon_h1, no multiplier",
            "falcon_mamba",
            "granitemoehybrid",
            "jamba",
            "kimi_linear",
            "lfm2",
            "mamba",
            "mamba2",
            "minimax",
            "nemotron_h",
            "olmo_hybrid",
            "qwen3_5_text",
            "qwen3_next",
            "zamba2",
        ),
        "recurrent layers",
    ),
    **dict.fromkeys(("bart", "openai-gpt", "rwkv"), "Native cannot sample from a"),
}
# One of each kind; the others are tried too, but cost the import of a file each.
COMMON = (
    "llama",
    "llama, llama3 rope",
    "llama, dynamic rope",
    "qwen2",
    "qwen3",
    "mistral, window",
    "phi",
    "phi3, longrope",
    "gemma2",
    "gemma2, attention cap",
    "gemma3",
    "gpt2",
    "gpt_oss",
    "falcon, alibi",
    "cohere",
    "granite",
    "qwen3_moe",
    "deepseek_v3",
    "llama4_text",
    "falcon_h1",
    "mamba2",
    "qwen3_5_text",
    "bart",
)


def check(name, folder):
    found = try_model(name, folder)
    if name in REFUSED:
        assert REFUSED[name] in found.refusal and "\n" not in found.refusal, found
    else:
        assert not found.refusal and found.rows, found
        assert max(found.training, found.sampling) < RIGHT, found


@pytest.mark.parametrize("name", COMMON)
def test_an_architecture_is_right_or_refused(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS.keys() - set(COMMON)))
def test_a_rarer_architecture_is_right_or_refused(name, tmp_path):
    """Slow: sixty of them, each with a file of transformers of its own."""
    check(name, tmp_path)


class Letters(Reward):
    """Differs within every group, whatever a model writes."""

    def score(self, rollouts):
        return [sum(map(ord, rollout.text)) % 7 + rollout.length / 100 for rollout in rollouts]


def train_and_export(name, tmp_path, lora=None):
    """Train, export, open again: the same numbers, and other ones than before."""
    write_tiny(name, tmp_path / "start")
    out = ExportPolicy(str(tmp_path / "end"))
    options = {"dtype": "float32", "lora": lora, "kl_coef": 0.1, "rewards": [Letters()]}
    module, _, _ = fit(str(tmp_path / "start"), tmp_path, 2, [out], **options)
    with torch.no_grad():
        start, end, trained = (
            plain_logprobs(model.eval(), probe_rows(20))[0]
            for model in (
                load_model(str(tmp_path / "start")),
                load_model(str(tmp_path / "end")),
                module.policy,
            )
        )
    rounded(end, trained, 1e-5)
    assert float((end - start).abs().max()) > 1e-4, "it has learned"


SOME = ("gemma3", "gpt2", "falcon, alibi", "gpt_oss", "deepseek_v3")
OTHERS = sorted(MODELS.keys() - REFUSED.keys() - set(SOME))


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_it_is_trained_exported_and_opened_again(name, tmp_path):
    """Slow: a run each."""
    train_and_export(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3", "falcon, alibi"])
def test_so_are_its_adapters(name, tmp_path):
    """Slow: a run each."""
    train_and_export(name, tmp_path, LoRA(4, 8))


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("name", OTHERS)
def test_all_are_trained_exported_and_opened_again(name, tmp_path):
    """Slow: sixty runs."""
    train_and_export(name, tmp_path)


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("name", OTHERS)
def test_all_take_adapters_or_name_the_layer_that_cannot(name, tmp_path):
    """Slow: sixty runs."""
    try:
        train_and_export(name, tmp_path, LoRA(4, 8))
    except UserError as error:
        assert re.match(r"model\.lora\.targets = all-linear: [\w.]+ cannot be adapted", str(error))
