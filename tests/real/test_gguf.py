"""A GGUF file becomes a folder of the same model, or a sentence; never half a folder."""

import sys
from pathlib import Path

import pytest
import torch
from small_tokenizers import TEXT

from fgexpo.cli.from_gguf import answer, convert
from fgexpo.cli.gguf_source import find_gguf
from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.model.loading import load_end_ids, load_model, load_tokenizer

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A Llama, its tokenizer and its file."""
    pytest.importorskip("gguf")
    from write_gguf import small_model, write

    model, tokenizer = small_model("llama")
    return model, tokenizer, write(tmp_path_factory.mktemp("gguf") / "a.gguf", model, tokenizer)


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([[5, 9, 30, 31, 200]])).logits


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("qwen2", False)])
def test_the_folder_holds_the_same_weights(kind, tied, tmp_path):
    from write_gguf import small_model, write

    model, tokenizer = small_model(kind, tied)
    write(tmp_path / "a.gguf", model, tokenizer)
    convert(str(tmp_path), str(tmp_path / "out"))
    again = load_model(str(tmp_path / "out"))
    assert again.config.model_type == kind and again.config.tie_word_embeddings is tied
    wanted = model.state_dict()
    assert wanted.keys() == again.state_dict().keys()
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, wanted[name]), name
    assert torch.equal(logits(again), logits(model))  # the configuration is the same too
    read = load_tokenizer(str(tmp_path / "out"))
    if kind == "llama":  # a Qwen2 splits text by a rule of its own
        assert read(TEXT).input_ids == tokenizer(TEXT).input_ids
    assert read.decode(read(TEXT).input_ids) == TEXT
    assert read.chat_template and load_end_ids(str(tmp_path / "out")) == [read.eos_token_id]


@pytest.mark.parametrize("packed", ["Q8_0", "Q4_0", "F16"])
def test_packed_weights_are_unpacked(packed, tmp_path):
    import gguf
    from write_gguf import small_model, write

    model, tokenizer = small_model("qwen2")
    kind = gguf.GGMLQuantizationType[packed]
    write(tmp_path / "a.gguf", model, tokenizer, packed=kind)
    convert(str(tmp_path / "a.gguf"), str(tmp_path / "out"))
    again = load_model(str(tmp_path / "out")).state_dict()
    for name, weight in model.state_dict().items():
        if weight.ndim == 2:
            rounded = gguf.quants.quantize(weight.numpy(), kind)
            weight = torch.from_numpy(gguf.quants.dequantize(rounded, kind))
        assert torch.equal(again[name], weight), name


def test_a_folder_that_answers_otherwise_is_not_left(made, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    with pytest.raises(EnvironmentFailure, match="--expect: 'Paris' is not in the answer"):
        convert(str(made[2]), str(out), "what is 4 + 2?", "Paris")
    assert not any(out.parent.glob("*")) and "asked 'what is 4 + 2?', it answers" in (
        capsys.readouterr().out
    )
    convert(str(made[2]), str(out), "what is 4 + 2?")
    said = answer(load_model(str(out)), str(out), "what is 4 + 2?")
    convert(str(made[2]), str(tmp_path / "second"), "what is 4 + 2?", said[:5])
    with pytest.raises(UserError, match=r"--ask: the question has .* the model's limit is 256"):
        convert(str(made[2]), str(tmp_path / "third"), "what is 4 + 2? " * 40)


def torn(path, folder):
    content = path.read_bytes()
    (folder / "b.gguf").write_bytes(content[: len(content) * 2 // 3])


def mute(path, folder):
    (folder / "b.gguf").write_bytes(path.read_bytes()[:40])


def unknown(path, folder):
    content = path.read_bytes()
    (folder / "b.gguf").write_bytes(content.replace(b"llama", b"llamb"))


def headless(path, folder):
    content = path.read_bytes()
    (folder / "b.gguf").write_bytes(content.replace(b"blk.1.ffn_up", b"blk.7.ffn_up"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (torn, "cannot be read as a GGUF file"),
        (mute, "cannot be read as a GGUF file"),
        (unknown, "cannot be read as a GGUF file .*llamb"),
        (headless, "1 missing .*layers.1.mlp.up_proj"),
    ],
)
def test_a_damaged_file_is_a_sentence(made, tmp_path, spoil, said):
    spoil(made[2], tmp_path)
    with pytest.raises(UserError, match=f"b.gguf.*{said}"):
        convert(str(tmp_path / "b.gguf"), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["b.gguf"]


def test_scaled_positions_are_not_lost_unseen(made, tmp_path):
    import numpy as np
    from write_gguf import write

    model, tokenizer, _ = made
    factors = np.ones(8, dtype=np.float32)
    for number, spoil in enumerate(
        [
            lambda writer: writer.add_tensor("rope_freqs.weight", factors),
            lambda writer: writer.add_string("llama.rope.scaling.type", "yarn"),
            lambda writer: writer.add_float32("llama.rope.scaling.factor", 2.0),
            lambda writer: writer.add_float32("llama.rope.scale_linear", 4.0),
        ]
    ):
        path = write(tmp_path / f"{number}.gguf", model, tokenizer, spoil=spoil)
        with pytest.raises(UserError, match=r"positions \((rope_freqs|.*yarn|.*2.0|.*4.0)"):
            convert(str(path), str(tmp_path / "out"))


def test_a_package_is_found_without_importing_it(made, tmp_path, monkeypatch):
    package = tmp_path / "has_one"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it needs C++')")
    (package / "model.gguf").symlink_to(made[2])
    (tmp_path / "has_none.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_gguf("has-one") == package / "model.gguf"
    assert "has_one" not in sys.modules
    (package / "second.gguf").symlink_to(made[2])
    for source, said in {
        "has_one": "holds 2 .gguf files; name one of them",
        "has_none": "holds no .gguf file",
        "has_nothing": "neither a file, nor a folder, nor an installed package",
        "no/such.gguf": "there is no file or folder 'no/such.gguf'",
        "nosuch.gguf": "there is no file or folder",
        str(tmp_path / "has_none.py"): "is not a GGUF file",
        str(Path(__file__).parent): "holds no .gguf file",
    }.items():
        with pytest.raises(UserError, match=said):
            find_gguf(source)
