"""What ends a completion: eos, generation_config.json, the chat template, tokens and texts."""

import json
import shutil

import pytest
from helpers import make_module
from small_tokenizers import CHAT, EOS, TURN, byte_level, sentencepiece

from fgexpo.errors import UserError
from fgexpo.model.loading import load_end_ids
from fgexpo.templates import R1, AnswerLine, ChatMLBox, Custom, Plain, PromptEncoder, chat


def stops(tokenizer, template=None, end_ids=()):
    encoder = PromptEncoder(tokenizer, template or Plain(), 64, end_ids)
    names = set(tokenizer.convert_ids_to_tokens(encoder.stop_ids))
    return names, encoder.stop_strings.strings if encoder.stop_strings else ()


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_the_chat_templates_own_end_of_turn_stops_under_every_template(make):
    tokenizer = make()
    assert stops(tokenizer) == ({EOS}, ())
    tokenizer.chat_template = CHAT
    for template in (R1(), AnswerLine(), Plain(), Custom("{question}")):
        assert stops(tokenizer, template) == ({EOS, TURN}, ())


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{{ m.content }} " + EOS, ({EOS}, ())),
        ("{{ m.content }}" + TURN + "\n" + EOS, ({EOS, TURN}, ())),
        ("{{ m.content }}\n\n", ({EOS}, ())),
        ("[{{ m.content }}]\n", ({EOS}, ())),
        ("{{ m.content }}</answer>\n", ({EOS}, ("</answer>",))),
        ("{% if m.role == 'user' %}{{ m.content }}{% endif %}", ({EOS}, ())),
        ("{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}", ({EOS}, ())),
    ],
)
def test_the_end_of_a_turn_is_read_from_what_the_template_writes(written, found):
    tokenizer = byte_level()
    tokenizer.chat_template = f"{{% for m in messages %}}{written}{{% endfor %}}"
    assert stops(tokenizer) == found


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_one_token_and_several(make):
    tokenizer = make()
    names, strings = stops(tokenizer, Plain(("\n", "Q:", "</answer>", TURN)))
    newline = "Ċ" if make is byte_level else "<0x0A>"
    assert names == {EOS, TURN, newline}
    assert strings == ("\n", "Q:", "</answer>")
    # A letter, though byte-level vocabularies have a byte of that name.
    assert stops(tokenizer, Plain(("é",))) == ({EOS}, ("é",))
    # Their own name in the vocabulary, as before.
    assert stops(tokenizer, Plain((newline,))) == ({EOS, newline}, ())


def test_every_template_takes_more_stops():
    made = [
        R1(["a"]),
        ChatMLBox(["a"]),
        AnswerLine(["a"]),
        Plain(["a"]),
        Custom("{question}", ["a"]),
    ]
    assert [template.stop_tokens[-1] for template in made] == ["a"] * 5
    assert ChatMLBox(["a"]).stop_tokens == ("<|im_end|>", "<|endoftext|>", "a")
    for wrong in ([""], [3], ["\ud800"]):
        with pytest.raises(UserError, match="stop_tokens must be texts of at least one character"):
            Plain(wrong)


def test_what_the_tokenizer_cannot_write_is_refused(tokenizer):
    for text in ("<|no_such_token|>", "</answer>"):
        with pytest.raises(UserError, match=r"stops on .* does not have and cannot write"):
            PromptEncoder(tokenizer, Plain((text,)), 8)
    with pytest.raises(UserError, match=r"stops on '<\|endoftext\|>'"):
        stops(byte_level(), ChatMLBox())


def test_without_generation_config_the_ends_of_config_stop(model_folder, tmp_path):
    path = tmp_path / "model"
    shutil.copytree(model_folder, path)
    (path / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((path / "config.json").read_text())
    for given, expected in (([1, 5], [1, 5]), (4, [4]), (None, [])):
        (path / "config.json").write_text(json.dumps(config | {"eos_token_id": given}))
        assert load_end_ids(str(path)) == expected


def with_generation_config(folder, tmp_path, **content):
    path = shutil.copytree(folder, tmp_path / "model", dirs_exist_ok=True)
    (path / "generation_config.json").write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("given", "expected"), [(5, [1, 5]), ([1, 5, 6], [1, 5, 6]), (None, [1]), ([9999, 5], [1, 5])]
)
def test_all_ends_of_generation_config_stop(model_folder, tmp_path, given, expected):
    folder = with_generation_config(model_folder, tmp_path, eos_token_id=given)
    if expected == [1]:
        assert make_module(folder).prompts.stop_ids == expected
        return
    with pytest.warns(UserWarning, match="ends completions at '3', which is ordinary text"):
        assert make_module(folder).prompts.stop_ids == expected


def test_ends_that_cannot_be_meant_are_refused(model_folder, tmp_path):
    for wrong in ("</s>", True, [1, -2], {"a": 1}):
        folder = with_generation_config(model_folder, tmp_path, eos_token_id=wrong)
        with pytest.raises(UserError, match=r"generation_config\.json' has eos_token_id = "):
            load_end_ids(folder)
    (tmp_path / "model" / "generation_config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot be read as a JSON object"):
        load_end_ids(folder)


def test_a_chat_template_that_loops_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 0.2)
    tokenizer = byte_level()
    loop = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
    tokenizer.chat_template = loop
    for template in (R1(), AnswerLine(), Plain()):
        with pytest.raises(UserError, match=r"did not end in 0\.2 seconds of processor time"):
            PromptEncoder(tokenizer, template, 8)
    # Only the answer's turn.
    tokenizer.chat_template = CHAT + "{% if messages|length == 2 %}" + loop + "{% endif %}"
    with pytest.raises(UserError, match="did not end in"):
        PromptEncoder(tokenizer, R1(), 8)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{% for", "cannot be read as a tokenizer whose chat template renders a message"),
        ("{{ raise_exception('no users') }}", "no users"),
        ("{{ messages[0].content.parts.text }}", "UndefinedError"),
        ("{% for part in messages[0].content %}{{ part.text }}{% endfor %}", "leaves out the text"),
    ],
)
def test_chat_templates_that_cannot_ask_are_refused(written, words):
    tokenizer = byte_level()
    tokenizer.chat_template = written
    with pytest.raises(UserError, match=words):
        PromptEncoder(tokenizer, R1(), 8)
