"""Reasoning-gym's own scorers as the verifier; what hostile answers cannot do."""

import json
import pickle
from dataclasses import replace

import pytest
from processes import OUTER_LIMIT

from fgexpo.errors import EnvironmentFailure
from fgexpo.gym.details import Recipe, check_of, recipe_of
from fgexpo.gym.guards import Refused, check_plain, check_sympy
from fgexpo.questions import Question
from fgexpo.rewards import ReasoningGymScorer
from fgexpo.tasks import ReasoningGym

real = pytest.mark.real
# The first evaluate answers by sympy, the next two by Python; the others read them in other ways.
EVALUATED = ("countdown", "polynomial_multiplication", "string_insertion", "spiral_matrix")
OTHERS = ("arc_1d", "rearc", "prime_factorization", "chain_sum", "propositional_logic")
CODE = "__import__('os').system('touch {mark}')"
HOSTILE = (
    *(CODE, f"[{CODE}]", f'exec("{CODE}")', f'\uff45\uff58\uff45\uff43("{CODE}")'),
    *(f'sympify("{CODE}")', f'sin("{CODE}")', "S(chr(95)+chr(95))", "open('{mark}', 'w')"),
    *(
        "().__class__.__base__.__subclasses__()",
        "Symbol('x').func",
        "lambda: 1",
        "[x for x in 'ab']",
    ),
    *("9**9**9", "10**10**10", "factorial(10**9)", "(" * 100_000, "[" * 100_000, "['a']*10**10"),
    *("", "\0", "\ud800", "\U0001f600" * 50, "NaN", "1e999", "1/0", "None", "x" * 20_000),
)


@pytest.fixture(scope="module")
def scorer():
    """One set of workers for all; without a limit where none is meant."""
    return ReasoningGymScorer(reads="text", timeout=OUTER_LIMIT, workers=1)


def of(*names, count=1):
    return [q for name in names for q in ReasoningGym(name, count=count).questions()]


@pytest.mark.parametrize("source", ["[[1, -2], ['a']]", "('A', 'B')", "-3 * (4 + 2)**2"])
def test_numbers_and_containers_are_evaluated(source):
    check_plain(source)


@pytest.mark.parametrize(
    "source",
    [*("print(1)", "a", "[].append", "[1][0]", "lambda: 1", "[x for x in [1]]", "f'{1}'"),
     *("9**9**9", "2**5000", "2**-(5000)")],
)  # fmt: skip
def test_code_is_not(source):
    with pytest.raises(Refused):
        check_plain(source)


def test_of_sympy_only_functions_of_numbers_are_called():
    import sympy

    known = {**vars(sympy), "eval": eval, "chr": chr}
    check_sympy("Integer (3 )*sin (Symbol ('x' ))+sqrt (pi )+Function ('f' )(Integer (1 ))", known)
    for source in [
        *("eval ('1')", "sympify ('1')", "S (chr (95 ))", "sin ('1')", "preview (Symbol ('x' ))"),
        *("lambdify (Symbol ('x' ),Integer (1 ))", "Symbol ('x' ).name", "Integer (9 )**9 **9"),
        *("factorial (Integer (100000 ))", "Integer"[:3] + " (1 )", "[x for x in (Integer (1 ),)]"),
    ]:
        with pytest.raises(Refused):
            check_sympy(source, known)


def test_details_are_a_recipe_in_json():
    recipe = Recipe("chain_sum", json.dumps({"max_terms": 2}), 7, 3, check_of({"question": "?"}))
    assert recipe_of(recipe.details()) == recipe
    assert recipe_of("") is None and recipe_of('{"kind": "another"}') is None
    one, other = ({"question": "?", "metadata": {"grid": kind([1])}} for kind in (list, tuple))
    assert check_of(one) != check_of(other), "scorers tell them apart"


@real
def test_details_are_short_however_large_the_question():
    (question,) = of("rearc")
    assert len(question.prompt) > 1000 > 4 * len(question.details)


@real
def test_a_question_that_comes_out_otherwise_is_refused_and_never_graded(scorer):
    """As it would for a data set that draws from something that is not pinned."""
    (question,) = of("chain_sum")
    recipe = recipe_of(question.details)
    for wrong, words in [
        (replace(recipe, check=recipe.check + 1), "makes another question from the same seed"),
        (replace(recipe, settings='{"max_terms": 0}'), "could not make it again to score answers"),
    ]:
        other = replace(question, details=wrong.details())
        ((told, reason),) = scorer.ungradable([other])
        assert told is other and reason.startswith("reasoning-gym's chain_sum ") and words in reason
        with pytest.raises(EnvironmentFailure, match=words):
            scorer.verify([other], [question.answer])
    foreign = replace(question, details="")
    with pytest.raises(EnvironmentFailure, match="not of a ReasoningGym source"):
        scorer.verify([foreign], [question.answer])


@real
def test_gold_answers_are_right_and_others_wrong(scorer):
    solved = of(*EVALUATED, *OTHERS[:4], count=2)
    assert all(verdict.correct for verdict in scorer.verify(solved, [q.answer for q in solved]))
    wrong = scorer.verify(solved, ["no idea"] * len(solved))
    assert not any(verdict.correct or verdict.timed_out for verdict in wrong)


@real
def test_some_credit_is_not_right_unless_asked_for(scorer, monkeypatch):
    asked = of("countdown")
    assert not scorer.verify(asked, ["1 + 1"])[0].correct
    monkeypatch.setattr(scorer, "right_from", 0.01)
    assert scorer.verify(asked, ["1 + 1"])[0].correct


@real
def test_hostile_answers_are_wrong_and_do_nothing(tmp_path, capfd):
    verifier = ReasoningGymScorer(reads="text", timeout=2.0, workers=1)
    mark = tmp_path / "owned"
    texts = [text.replace("{mark}", str(mark)) for text in HOSTILE]
    for question in of(*EVALUATED, *OTHERS[2:]):
        found = verifier.verify([question] * len(texts), texts)
        assert not any(verdict.correct for verdict in found)
        # One reads long texts in quadratic time.
        assert sum(verdict.timed_out for verdict in found) <= 1, question.tags
    assert not mark.exists()
    said = capfd.readouterr().err
    assert said.count("prime_factorization fails at some answers, which count as wrong") == 1


@real
def test_an_answer_is_read_as_told(scorer, monkeypatch):
    question = of("chain_sum")[0]
    gold = question.answer
    for reads, text in [
        ("first_line", f"\n {gold} \nQ: 1 + 1 =\nA: 2"),
        ("line", f"Hm.\nAnswer: {gold}"),
        ("answer_tag", f"<answer>7</answer> or <answer> {gold}\n</answer>."),
        ("box", rf"\boxed{{{gold}}}"),
        ("last_number", f"First 7, then {gold}."),
        ("text", f" {gold}\n"),
    ]:
        monkeypatch.setattr(scorer, "reads", reads)
        found = scorer.verify([question] * 2, [text, ""])
        assert [(v.correct, v.answer) for v in found] == [(True, gold), (False, None)], reads


@real
def test_questions_that_it_cannot_grade_are_told_at_the_start(scorer, monkeypatch):
    foreign = Question("x", "1 + 1", "2")
    (told,) = scorer.ungradable([foreign, *of("chain_sum")])
    assert told[0] is foreign and "not of a ReasoningGym source" in told[1]
    (any_text,) = scorer.ungradable(of("game_of_life_halting"))
    assert any_text[1] == "the scorer of game_of_life_halting takes '?xyzzy?' as right too"
    monkeypatch.setattr(scorer, "reads", "first_line")
    (grid,) = scorer.ungradable(of("rotate_matrix", "chain_sum"))
    assert "reads = first_line would read '" in grid[1]


@real
def test_it_can_be_copied_while_its_workers_run(scorer):
    question = of("chain_sum")[0]
    assert scorer.verify([question], [question.answer])[0].correct
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy._pool.workers == [] and scorer._pool.workers


@pytest.mark.parametrize(
    "wrong", [{"reads": "boxes"}, {"right_from": 0.0}, {"timeout": 0}, {"workers": 0}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=rf"model\.verifier\.{next(iter(wrong))} must be"):
        ReasoningGymScorer(**wrong)
