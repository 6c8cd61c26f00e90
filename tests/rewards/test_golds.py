"""Every gold answer of the benchmarks is right against itself, and wrong against others."""

import itertools
import random
import re
from pathlib import Path

import pytest

from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier
from fgexpo.tasks import Benchmark

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"
OTHERS, PAIRS = 20, 200
# Seconds a pair: so many that on a busy machine no answer is wrong for want of time.
LIMIT = 20.0
# Golds that are written differently and have the same value, by the rules in docs/method.md:
# without its unit, its degree sign or the name of what it is the value of, or in another case;
# or with other spaces, separators or a plus.
SAME = {
    frozenset(pair)
    for pair in (
        ("15", "15\\mbox{ cm}^2"),
        ("36", "36^\\circ"),
        ("\\frac14", "\\frac{1}{4}"),
        ("30^\\circ", "30"),
        ("90^\\circ", "90"),
        ("120^\\circ", "120"),
        ("$44^{\\circ}$", "44"),
        ("\\$36", "36"),
        ("$8 \\%$", "8"),
        ("+2", "2"),
        ("10,\\!080", "10080"),
        ("2 \\sqrt{5}", "2\\sqrt{5}"),
        ("$2 n$", "$2n$"),
        ("$k=1$", "1"),
        ("$k=3$", "3"),
        ("$4^{\\circ}$", "4"),
        ("$\\frac{N}{2}$", "$\\frac{n}{2}$"),
    )
}


NAMES = ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench"]
needs_files = pytest.mark.skipif(not FOLDER.exists(), reason="the shared benchmarks are not here")


def read(name):
    benchmark = Benchmark(name)
    benchmark.root = str(FOLDER)
    return benchmark.questions()


def bare(answer):
    return re.sub(r"\\[A-Za-z]+|[^0-9A-Za-z]", "", answer)


def wrongly_equal(pairs):
    """Golds that are right against another question's gold, and are not the same value."""
    asked: list[Question] = [question for question, _ in pairs]
    found = MathVerifier(timeout=LIMIT).verify(
        asked, [rf"\boxed{{{answer}}}" for _, answer in pairs]
    )
    equal = {
        frozenset((question.answer, answer))
        for (question, answer), verdict in zip(pairs, found, strict=True)
        if verdict.correct
    }
    return equal - SAME


@pytest.mark.slow
@needs_files
@pytest.mark.parametrize("name", NAMES)
def test_golds_are_right_against_themselves(name):
    questions = read(name)
    own = [rf"\boxed{{{question.answer}}}" for question in questions]
    found = MathVerifier(timeout=LIMIT).verify(questions, own)
    wrong = [q.answer for q, verdict in zip(questions, found, strict=True) if not verdict.correct]
    assert wrong == []


@pytest.mark.slow
@needs_files
def test_golds_are_wrong_against_those_most_like_them():
    """All with the same letters and digits, as 1/4, -14 and 1.4, and some of the others."""
    rng, alike, others = random.Random(0), [], []
    for name in NAMES:
        questions = sorted(read(name), key=lambda question: bare(question.answer))
        for question, following in itertools.pairwise(questions):
            same = bare(question.answer) == bare(following.answer)
            (alike if same else others).append((question, following.answer))
    alike = [pair for pair in alike if pair[0].answer != pair[1]]
    assert len(alike) > 50
    assert wrongly_equal([*alike, *rng.sample(others, PAIRS)]) == set()


@pytest.mark.slow
@pytest.mark.full
@needs_files
@pytest.mark.parametrize("name", NAMES)
def test_golds_are_wrong_against_many_others(name):
    questions, rng = read(name), random.Random(0)
    pairs = [
        (question, other.answer)
        for question in questions
        for other in rng.sample(questions, min(OTHERS, len(questions)))
        if other.answer != question.answer
    ]
    assert wrongly_equal(pairs) == set()
