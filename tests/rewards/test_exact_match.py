"""Answers that are words, letter by letter."""

import pytest

from fgexpo.questions import Question
from fgexpo.rewards import ExactMatch


def right(verifier, gold, text):
    return verifier.verify([Question("", "", gold)], [text])[0].correct


@pytest.mark.parametrize(
    ("gold", "text", "options", "correct"),
    [
        ("Paris", " Paris\nQ: and Spain?", {}, True),
        ("Paris", "\n\n  Paris", {}, True),
        ("Paris", "paris", {}, False),
        ("Paris", "paris", {"ignore_case": True}, True),
        ("Paris", "Paris.", {}, False),
        ("Paris", '"Paris".', {"ignore_punctuation": True}, True),
        ("Paris", "Paris or Rome", {"ignore_punctuation": True}, False),
        ("New York", "New  York ", {}, True),
        ("no", "<answer>yes</answer><answer> no </answer>", {"reads": "answer_tag"}, True),
        ("no", "no</answer>", {"reads": "answer_tag"}, False),
        ("no", r"\boxed{no}", {"reads": "box"}, True),
        ("no", "Well.\nAnswer: no", {"reads": "line"}, True),
        ("12", "first 7, then 12.", {"reads": "last_number"}, True),
        ("a\nb", "a\nb\n", {"reads": "text"}, True),
        ("Paris", "", {}, False),
    ],
)
def test_an_answer(gold, text, options, correct):
    assert right(ExactMatch(**options), gold, text) is correct


def test_gold_answers_that_nothing_can_equal():
    golds = {"": "nothing", " ... ": "nothing", "a\nb": "would read 'a'", "Paris": None}
    verifier = ExactMatch(ignore_punctuation=True)
    told = verifier.ungradable([Question(gold, "", gold) for gold in golds])
    found = {question.id: reason for question, reason in told}
    assert set(found) == {"", " ... ", "a\nb"}
    assert all(golds[gold] in reason for gold, reason in found.items())


@pytest.mark.parametrize(
    ("reads", "gold", "would_read"),
    [
        ("line", "9 a.m.", None),
        ("line", "**bold**", "'bold'"),
        ("line", "Paris", None),
        ("box", "a}b", "'a'"),
        ("box", r"\frac{1}{2}", None),
        ("answer_tag", "x</answer>y", None),
        ("last_number", "3 apples", "'3'"),
        ("text", "a\nb.", None),
    ],
)
def test_gold_answers_that_this_reading_changes(reads, gold, would_read):
    told = ExactMatch(reads=reads).ungradable([Question("q", "", gold)])
    assert [reason.partition("would read ")[2] for _, reason in told] == (
        [] if would_read is None else [would_read]
    )


def test_reading_that_is_not_known():
    with pytest.raises(ValueError, match=r"model\.verifier\.reads must be one of .*, got 'words'"):
        ExactMatch(reads="words")
