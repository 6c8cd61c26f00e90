"""Prompts open as the tokenizer opens every text: with BOS where it writes one, and only once."""

import pytest
from small_tokenizers import BOS, CHAT, byte_level, sentencepiece

from fgexpo.templates import R1, AnswerLine, ChatMLBox, Custom, Plain, PromptEncoder


class ChatML(ChatMLBox):
    stop_tokens = ()


TEMPLATES = [
    Plain(),
    R1(),
    AnswerLine(),
    ChatML(),
    Custom("{question}"),
    Custom(BOS + "{question}"),
]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: type(template).__name__)
@pytest.mark.parametrize("chat", [CHAT, BOS + CHAT])
@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_bos_is_written_once_under_every_template(template, chat, make):
    tokenizer = make()
    tokenizer.chat_template = chat
    tokens = PromptEncoder(tokenizer, template, 64).tokens("4 + 2?")
    assert tokens[0] == tokenizer.bos_token_id and tokens.count(tokenizer.bos_token_id) == 1
    text = template.render("4 + 2?", tokenizer)
    assert tokens == tokenizer(text, add_special_tokens=not text.startswith(BOS)).input_ids


def test_tokenizers_without_bos_write_none():
    tokenizer = byte_level(bos=False)
    tokens = PromptEncoder(tokenizer, Plain(), 64).tokens("4 + 2?")
    assert tokens == tokenizer("4 + 2?").input_ids and tokenizer.bos_token_id not in tokens


def test_an_eos_that_the_tokenizer_adds_is_not_put_behind_a_question():
    tokenizer = byte_level(eos_too=True)
    tokens = PromptEncoder(tokenizer, Plain(), 64).tokens("4 + 2?")
    assert [*tokens, tokenizer.eos_token_id] == tokenizer("4 + 2?").input_ids


def test_bos_counts_as_a_token_of_the_prompt():
    tokenizer = byte_level()
    length = len(tokenizer("4 + 2?").input_ids)
    assert PromptEncoder(tokenizer, Plain(), length - 1).encode("4 + 2?") is None
    assert len(PromptEncoder(tokenizer, Plain(), length).encode("4 + 2?")) == length
