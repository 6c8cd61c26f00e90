"""A model folder that is not whole is refused by name, in one sentence."""

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from fgexpo.errors import UserError
from fgexpo.model.loading import load_config, load_model, load_tokenizer

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "m")
    return tmp_path / "m"


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def lose(weights):
    del weights[UP]


def rename_all(weights):
    for name in list(weights):
        weights[f"policy.{name}"] = weights.pop(name)


def add(weights):
    weights["v_head.weight"] = torch.zeros(3)


def reshape(weights):
    weights[UP] = torch.zeros(63, 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lose, [f"1 missing ({UP})"]),
        (
            rename_all,
            ["27 missing (lm_head.weight, ", "27 not of this model (policy.lm_head"],
        ),
        (add, ["1 not of this model (v_head.weight)"]),
        (reshape, [f"1 of another shape ({UP} is [63, 32] for [64, 32])"]),
    ],
)
def test_weights_that_are_not_the_models_are_named(folder, change, words, caplog):
    change_weights(folder, change)
    with pytest.raises(UserError) as caught:
        load_model(str(folder))
    text = str(caught.value)
    assert text.startswith(f"model.name: the weights in '{folder}' are not those that")
    assert all(word in text for word in words) and "\n" not in text, text
    assert "LOAD REPORT" not in caplog.text


def test_a_tied_head_is_not_missing(folder):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "tie_word_embeddings": True}))
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    model = load_model(str(folder))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def lie(content):
    """A header that gives a weight more rows than the file has bytes for."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header[UP]["shape"][0] *= 2
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: struct.pack("<Q", 2**60) + content[8:],
        lie,
    ],
)
def test_torn_and_lying_weights(folder, spoil):
    path = folder / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    words = r"^model\.name: '.*' cannot be read as a model's weights \(SafetensorError"
    with pytest.raises(UserError, match=words):
        load_model(str(folder))


def test_weights_in_a_pickle(folder):
    """Tensors are read as ever; anything else could run code."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    path.unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert torch.equal(load_model(str(folder)).lm_head.weight, weights["lm_head.weight"])
    torch.save({"weights": print}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="a pickle that holds more than tensors"):
        load_model(str(folder))


def test_no_weights_and_a_missing_part(folder):
    index = {"metadata": {}, "weight_map": {UP: "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no file named model\.safetensors"):
        load_model(str(folder))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="model-00002-of-00002"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a valid JSON file"),
        ("{}", "`model_type`"),
        ('{"model_type": "nobody"}', "`nobody`"),
        ('{"model_type": "qwen2", "hidden_size": "wide"}', "'hidden_size' expected int, got str"),
        ('{"model_type": "qwen2", "layer_types": ["x"], "num_hidden_layers": 1}', "layer_types"),
    ],
)
def test_a_bad_config(folder, text, words):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"cannot be read as a model's config\.json") as caught:
        load_config(str(folder))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_no_causal_lm(folder):
    (folder / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="holds a 't5', which is no causal language model"):
        load_model(str(folder))


@pytest.mark.parametrize("text", ["{", '{"model": 1}', "[]"])
def test_a_bad_tokenizer(folder, text):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match=r"^model\.name: '.*' cannot be read as a tokenizer"):
        load_tokenizer(str(folder))


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer, expected one of .*'tokenizer\.json'"):
        load_tokenizer(str(folder))


def test_a_bad_generation_config(folder):
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as a generation_config"):
        load_model(str(folder))


def test_a_folder_of_adapters(folder):
    (folder / "adapter_config.json").write_text("{}")
    for opened in (load_model, load_tokenizer):
        with pytest.raises(UserError, match="holds LoRA adapters"):
            opened(str(folder))


def test_randomness_is_switched_off_in_every_part(tmp_path):
    from transformers import Gemma3Config, PhimoeConfig

    PhimoeConfig(router_jitter_noise=0.1, hidden_dropout=0.1).save_pretrained(tmp_path / "a")
    config = load_config(str(tmp_path / "a"))
    assert config.router_jitter_noise == config.hidden_dropout == 0
    Gemma3Config(text_config={"attention_dropout": 0.1}).save_pretrained(tmp_path / "b")
    assert load_config(str(tmp_path / "b")).text_config.attention_dropout == 0
