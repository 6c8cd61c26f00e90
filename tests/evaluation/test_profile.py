"""What `profile` says of graded samples: shares, signals and advice, by hand."""

import pytest
import torch
from near import same

from fgexpo.advantages import Centred, GroupNormalised, PassAtK
from fgexpo.evaluation.advice import advise
from fgexpo.evaluation.profile import (
    constant_answer,
    kinds,
    profile,
    question_facts,
    signal_chances,
)
from fgexpo.metrics import NO_VOTE
from fgexpo.questions import Question


def samples(correct, votes=None, tokens=None, truncated=None):
    """Samples of one question, [5, n]."""
    n = len(correct)
    rows = [correct, votes or [7] * n, tokens or [4] * n, truncated or [0] * n, [0] * n]
    return torch.tensor(rows)


def test_a_group_is_drawn_from_what_was_seen():
    # 2 of 4: of the six pairs, four have a right and a wrong one. 1 of 4: three of six.
    same(signal_chances(GroupNormalised(), 2, 4), [0, 3 / 6, 4 / 6, 3 / 6, 0])
    assert signal_chances(Centred(), 4, 4) == [0, 1, 1, 1, 0]


def test_a_group_larger_than_what_was_seen_is_drawn_by_the_rate():
    same(signal_chances(GroupNormalised(), 4, 2), [0, 1 - 2 / 16, 0])


def test_the_estimator_has_the_word_on_signals():
    # PKPO with k = 2 of G = 4: groups with more than G - k = 2 right ones have none.
    assert signal_chances(PassAtK(k=2), 4, 4) == [0, 1, 1, 0, 0]
    same(signal_chances(PassAtK(k=2), 3, 4), [0, 3 / 4, 1 / 2, 0, 0])


def test_the_drawn_groups_have_the_right_mean():
    # Over all that four rollouts of rate p may show, the chance is that of a group of three.
    p, chances = 0.3, signal_chances(GroupNormalised(), 3, 4)
    counts = [0.7**4, 4 * 0.3 * 0.7**3, 6 * 0.09 * 0.49, 4 * 0.027 * 0.7, 0.3**4]
    mean = sum(count * chance for count, chance in zip(counts, chances, strict=True))
    same(mean, 1 - p**3 - (1 - p) ** 3)


def test_one_question_by_hand():
    found = question_facts(
        samples([1, 0, 0, 0], [7, NO_VOTE, NO_VOTE, 8], [3, 9, 2, 6], [0, 1, 0, 0]),
        [0, 0.25, 1, 1, 0],
    )
    assert found == {
        **{"pass@1": 0.25, "pass@4": 1.0, "hopeless": 0.0, "frontier": 1.0, "mastered": 0.0},
        **{"signal": 0.25, "unread": 0.5, "truncated": 0.25, "tokens": 5.0},
    }


def question(name, answer="1", **tags):
    return Question(name, "?", answer, tags)


def test_tags_that_name_kinds_are_told_from_those_that_name_questions():
    asked = [
        question(str(row), level=str(row % 2), source="book", row=str(row)) for row in range(20)
    ]
    found = kinds([*asked, question("bare")])
    assert {kind: len(rows) for kind, rows in found.items()} == {"level=0": 10, "level=1": 10}


def test_a_pool_by_hand():
    asked = [question("a", level="1"), question("b", level="1"), question("c", "2", level="2")]
    graded = {
        0: samples([0, 0], [NO_VOTE, NO_VOTE], [8, 8], [1, 1]),
        1: samples([1, 0], [7, NO_VOTE]),
        2: samples([1, 1], [7, NO_VOTE]),
    }
    found = profile(asked, [[1], [1, 2], [1, 2, 3]], graded, [0, 1, 0])
    means = {name: score["mean"] for name, score in found["overall"].items()}
    same([means["pass@1"], means["pass@2"], means["signal"]], [1 / 2, 2 / 3, 1 / 3])
    same([means[name] for name in ("hopeless", "frontier", "mastered")], [1 / 3] * 3)
    same([means["unread"], means["truncated"]], [1 / 2, 1 / 3])
    same(found["unread_untruncated"], 1 / 4)
    low = found["by_tag"]["level=1"]
    assert (low["questions"], low["pass@1"]["mean"]) == (2, 0.25)
    assert low["pass@1"]["low"] <= 0.25 <= low["pass@1"]["high"]
    assert found["constant"] == {"answer": "1", "share": 2 / 3}
    assert low["constant"] == {"answer": "1", "share": 1.0}
    half = [question("d", ""), question("e", ""), question("f", "2")]
    assert constant_answer(half) == {"answer": "2", "share": 1 / 3}
    assert constant_answer(half[:2]) is None
    lengths = {"prompt_mean": 2.0, "prompt_max": 3, "completion_mean": 32 / 6, "completion_max": 8}
    same(list(found["tokens"].values()), list(lengths.values()))
    assert list(found["tokens"]) == list(lengths)


def pool(overall, unread=0.0, **by_tag):
    overall = {"pass@1": {"mean": 0.3}, **overall}
    constant = {"answer": "7", "share": 0.2}
    return {
        **{"overall": overall, "unread_untruncated": unread, "questions": 40},
        **{"constant": constant, "by_tag": by_tag},
    }


CASES = [
    ({"truncated": 0.4}, 0.0, "max_new_tokens = 9: raise it"),
    ({}, 0.7, "does not ask for the form of answer"),
    ({"hopeless": 0.95, "frontier": 0.05, "signal": 0.05}, 0.0, "too hard"),
    ({"mastered": 0.95, "frontier": 0.05, "signal": 0.05}, 0.0, "too easy"),
    ({"hopeless": 0.4, "frontier": 0.6, "signal": 0.6}, 0.0, "--data.warm_start=r.json"),
    ({"frontier": 1.0, "signal": 1.0}, 0.0, "nothing stands out"),
]


@pytest.mark.parametrize(("shares", "unread", "words"), CASES)
def test_advice_where_it_is_clear(shares, unread, words):
    names = ("hopeless", "frontier", "mastered", "signal", "truncated")
    overall = {name: {"mean": shares.get(name, 0.0)} for name in names}
    said = advise(pool(overall, unread), 9, "r.json", True)
    assert words in said[0]
    assert not [line for line in said if "always answering" in line]


def test_rates_are_not_advised_on_before_answers_are_read():
    overall = {name: {"mean": 1.0} for name in ("hopeless", "truncated")}
    overall |= {name: {"mean": 0.0} for name in ("frontier", "mastered", "signal")}
    said = advise(pool(overall), 9, "r.json", True)
    assert len(said) == 1 and "cut off" in said[0]


@pytest.mark.parametrize(
    ("count", "share", "score", "told"),
    [(60, 0.83, 0.47, True), (60, 0.83, 0.9, False), (60, 0.2, 0.1, False), (9, 1.0, 0.1, False)],
)
def test_a_kind_that_one_answer_solves_is_told(count, share, score, told):
    names = ("hopeless", "frontier", "mastered", "signal", "truncated")
    overall = {name: {"mean": 0.5 * (name in ("frontier", "signal"))} for name in names}
    kind = {"questions": count, "constant": {"answer": "1", "share": share}}
    found = pool(overall, **{"task=letters": kind | {"pass@1": {"mean": score}}})
    line = "always answering '1' is right for 83% of task=letters, more often than the model is"
    assert any(said.startswith(line) for said in advise(found, 9, "r.json", True)) == told
