"""Questions of reasoning-gym: splits that share none, the same ones anywhere, plain refusals."""

import os
import subprocess
import sys
from itertools import combinations

import pytest
from near import within

from fgexpo.errors import UserError
from fgexpo.gym import maker
from fgexpo.gym.splits import part_of, share_of
from fgexpo.rewards import ExactMatch, MathVerifier, ReasoningGymScorer
from fgexpo.tasks import Mixture, ReasoningGym

real = pytest.mark.real
EASY = {"max_terms": 2, "max_digits": 1}


def texts(source):
    """What is asked, without the examples before it."""
    return {q.prompt.split("Q: ")[-1].removesuffix("\nA:") for q in source.questions()}


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(maker, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs .* reasoning-gym: `pip install .* '\.\[real\]'`"):
        ReasoningGym("chain_sum")


def test_numbers_that_cannot_be(monkeypatch):
    for wrong, words in [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"examples": -1}, "examples must be at least 0, got -1"),
        ({"split": "test"}, "split must be one of .* got 'test'"),
    ]:
        with pytest.raises(UserError, match=rf"ReasoningGym\.{words}"):
            ReasoningGym("chain_sum", **wrong)


def test_the_parts_have_their_shares_of_all_texts():
    found = [part_of(f"question {i}") for i in range(20_000)]
    for part in ("pool", "validation", "held_out", "examples"):
        within(found.count(part) / len(found), share_of(part), 0.01)


@real
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("chain_sum", ({"max_terms": 2, "max_digits": 1}, {"max_terms": 3, "max_digits": 1})),
        ("letter_counting", ({"max_words": 6}, {})),
        ("gcd", ({"max_value": 20}, {"max_value": 40, "max_numbers": 3})),
        ("isomorphic_strings", ({"max_string_length": 3}, {"max_string_length": 4})),
    ],
)
def test_no_two_sources_share_a_question_across_splits(name, settings):
    """Other seeds, counts and settings included; and no example is ever asked."""
    found = {"pool": set(), "validation": set(), "held_out": set()}
    for number, chosen in enumerate(settings):
        for seed in (0, 1):
            for split, asked in found.items():
                count = 6 + 3 * number + seed
                asked |= texts(ReasoningGym(name, split, count, chosen, seed=seed))
    shown = maker.draw(name, settings[0], 0, {"examples": 4})["examples"]
    found["examples"] = {made["text"] for made in shown}
    assert all(len(part) > 3 for part in found.values())
    for one, other in combinations(found.values(), 2):
        assert not one & other
    for part, asked in found.items():
        assert {part_of(text) for text in asked} == {part}


@real
def test_another_process_with_another_hash_seed_makes_the_same_questions():
    """These data sets go through sets of texts, and draw from generators of the process."""
    code = (
        "from fgexpo.gym.maker import draw\n"
        "for name in ('isomorphic_strings', 'ransom_note', 'list_functions', 'pool_matrix'):\n"
        "    for made in draw(name, {}, 0, {'pool': 4})['pool']:\n"
        "        print(repr(made['text']), repr(made['answer']))"
    )
    one, other = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert one == other and one.count("\n") == 16


@real
def test_examples_come_first_and_are_the_same_for_all():
    found = ReasoningGym("chain_sum", count=20, settings=EASY, examples=3).questions()
    shown = {q.prompt[: q.prompt.rindex("Q: ")] for q in found}
    assert len(shown) == 1
    start = shown.pop()
    assert start.count("Q: ") == start.count("\nA: ") == 3 and start.endswith("\n\n")
    assert all(q.prompt.endswith(" =\nA:") for q in found)
    other_split = ReasoningGym("chain_sum", "held_out", 5, EASY, examples=3).questions()
    assert all(q.prompt.startswith(start) for q in other_split)


@real
def test_sources_stand_in_one_mixture_and_tags_tell_them_apart():
    sources = [
        ReasoningGym("chain_sum", count=10, settings=EASY),
        ReasoningGym("chain_sum", count=10, settings=EASY | {"max_terms": 3}),
        ReasoningGym("letter_counting", count=10),
    ]
    found = Mixture(sources).questions()
    assert {q.tags["task"] for q in found} == {"chain_sum", "letter_counting"}
    assert {q.tags["num_terms"] for q in found if q.tags["task"] == "chain_sum"} == {"2", "3"}
    assert found == Mixture(sources).questions()
    for verifier in (MathVerifier(reads="last_number"), ExactMatch(), ReasoningGymScorer()):
        assert verifier.ungradable(found) == []


@real
def test_a_space_that_is_used_up_is_refused_with_its_size():
    with pytest.raises(UserError) as told:
        ReasoningGym("chain_sum", "held_out", 200, EASY).questions()
    assert str(told.value) == (
        "ReasoningGym chain_sum with these settings has only 50 different questions in split "
        "held_out, ReasoningGym.count = 200"
    )
    assert len(ReasoningGym("chain_sum", "held_out", 50, EASY, seed=1).questions()) == 50


@real
@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("chian_sum", {}, "no data set 'chian_sum'; did you mean 'chain_sum'?"),
        ("composite", {}, "name each in a Mixture"),
        ("chain_sum", {"max_term": 3}, "no setting 'max_term', given 3; did you mean 'max_terms'?"),
        ("chain_sum", {"max_terms": "3"}, "settings.max_terms is '3', expected int such as 6"),
        ("chain_sum", {"max_terms": True}, "settings.max_terms is True, expected int"),
        ("chain_sum", {"max_terms": 0}, '{"max_terms": 0}: max_terms must be >= min_terms'),
        ("chain_sum", {"seed": 1}, "settings.seed is set by ReasoningGym.seed"),
    ],
)
def test_what_the_package_does_not_have_is_refused(name, settings, words):
    with pytest.raises(UserError) as told:
        ReasoningGym(name, settings=settings)
    assert words in str(told.value) and "ReasoningGym" in str(told.value)


@real
@pytest.mark.parametrize("name", ["gsm_symbolic", "acre", "word_ladder"])
def test_data_sets_that_make_all_their_items_at_once_or_rate_them_by_a_number(name):
    found = ReasoningGym(name, count=3).questions()
    assert [question.tags["task"] for question in found] == [name] * 3


@real
def test_an_error_of_the_package_is_a_sentence():
    with pytest.raises(UserError, match="count_primes: reasoning-gym could not make a question"):
        ReasoningGym("count_primes", settings={"max_n": 10**12})
    # The worker is none the worse for it.
    assert len(ReasoningGym("chain_sum", count=3).questions()) == 3


@real
def test_a_data_set_without_gold_answers_is_for_its_scorer_alone():
    found = ReasoningGym("graph_color", count=2).questions()
    assert [q.answer for q in found] == ["", ""]
    assert ReasoningGymScorer().ungradable(found) == []
    assert len(MathVerifier().ungradable(found)) == len(ExactMatch().ungradable(found)) == 2
    with pytest.raises(UserError, match="graph_color has no gold answers to show"):
        ReasoningGym("graph_color", count=2, examples=1).questions()
