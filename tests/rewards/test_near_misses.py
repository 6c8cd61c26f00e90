"""Near misses: answers that look like the gold one, and answers that look like another."""

import time

import pytest
from processes import OUTER_LIMIT

from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier
from fgexpo.rewards.maths.compare import Pair, fast_equal
from fgexpo.rewards.maths.normalise import key

WRONG = [
    ("5", r"5\text{ hundred}"),
    ("3", r"3\text{ million}"),
    ("3", "3 dozen"),
    ("5", r"5\text{ or six}"),
    ("3", "3 or four"),
    ("5", "5 or more"),
    ("5", "5 to six"),
    ("5", r"5\text{ is wrong}"),
    ("5", "5 squared"),
    ("5", "5 factorial"),
    ("5", r"5\mathrm{i}"),
    ("2", r"2\mathrm{e}"),
    ("2", r"2\mathrm{e}^{-2}"),
    (r"\frac{1}{2}", r"\frac{1}{2}\mathrm{e}^{2}"),
    ("(x+1)", r"(x+1)\text{ squared}"),
    (r"5\text{ m}", r"5\text{ cm}"),
    (r"3\text{ hours}", r"3\text{ minutes}"),
    ("5", "not $5$"),
    ("5", "The answer is not $5$"),
    ("5", "less than $5$"),
    ("5", "at most $5$"),
    ("5", "minus $5$"),
    ("5", "negative $5$"),
    ("7", "12 equals 7"),
    ("1,2", "(2,1)"),
    ("(1,2)", r"\{1,2\}"),
    ("2,2,3", "2,3"),
    ("2,3,3", "2,2,3"),
    ("1, 1", "1"),
    ("17", "1 7"),
    ("17", r"1\quad 7"),
    ("14", "1 4"),
    ("8", r"\le 8"),
    ("8", r"\neg 8"),
    ("8", "8_{1}"),
    ("2516_8", "2516_9"),
    ("10", "10_2"),
    ("5", "1e5000"),
    ("100, 200", "100200"),
    ("x+5", "^" + " " * 990 + "x"),
    ("0", "2x-y=0"),
    ("204", "205 or 204"),
    ("2", "2 or 3"),
    ("(1,2)", "(2,1)"),
    ("-1", "1"),
    ("[1,2]", "(1,2)"),
]
RIGHT = [
    (r"5\text{ m}", r"5\text{ meters}"),
    ("1,2", "(1,2)"),
    ("(1,2)", "1,2"),
    ("1,2", "2,1"),
    ("1,2", r"\{2,1\}"),
    ("100, 200", "200, 100"),
    ("100, 200", "100,200"),
    ("$100$,$200$", "200,100"),
    (r"\frac{14}{3}", "4 2/3"),
    ("204", "204,"),
    ("204", "**204**"),
    ("204", r"\underline{204}"),
    ("204", r"\color{red}{204}"),
    ("204", r"204 \pmod{1000}"),
    ("-2", "\N{EN DASH}2"),
    ("5", "5 cm^2"),
    ("5", "5 apples"),
    ("x=5", "5"),
    ("10", "1010_2"),
    ("58,500", "58500"),
    ("58500", "58,500"),
    ("58500", "58 500"),
    ("2,2,3", "3,2,2"),
    (r"\frac 1 2", "0.5"),
    ("m+n=7", "7"),
    ("7", "m+n=7"),
    ("1000000", "1e6"),
    (r"50\%", "50%"),
    (r"\text{(A)}", "A"),
    ("A", "(A)"),
    (r"3\sqrt{2}", r"3 \sqrt 2"),
    ("6-5i", "6-5i"),
    (r"\frac{3}{4}\pi", r"\frac{3\pi}{4}"),
]


@pytest.fixture(scope="module")
def verdicts():
    """All at once: one set of workers grades them."""
    pairs = [*WRONG, *RIGHT]
    questions = [Question(str(row), "", gold) for row, (gold, _) in enumerate(pairs)]
    texts = [rf"\boxed{{{answer}}}" for _, answer in pairs]
    return dict(zip(pairs, MathVerifier(timeout=OUTER_LIMIT).verify(questions, texts), strict=True))


@pytest.mark.parametrize("pair", WRONG, ids=" <- ".join)
def test_an_answer_that_says_something_else_is_wrong(verdicts, pair):
    assert not verdicts[pair].correct and not verdicts[pair].timed_out


@pytest.mark.parametrize("pair", RIGHT, ids=" <- ".join)
def test_an_answer_that_says_the_same_is_right(verdicts, pair):
    assert verdicts[pair].correct


@pytest.mark.parametrize(
    ("relative", "absolute", "answer"), [(1e-4, 0.0, "1.00001,2"), (0.0, 0.1, "1.05,2")]
)
def test_an_error_is_allowed_in_each_part(relative, absolute, answer):
    question = Question("", "", "1,2", relative_error=relative, absolute_error=absolute)
    texts = [rf"\boxed{{{given}}}" for given in (answer, "2,2")]
    grades = MathVerifier(timeout=OUTER_LIMIT).verify([question] * 2, texts)
    assert [grade.correct for grade in grades] == [True, False]


HOSTILE = [
    *("1e5000", r"1\cdot 10^{9999}", "1" * 20_000, "^" + " " * 990 + "x"),
    *("( " * 500, "1 " * 499, "a " * 499, "$ " * 499, "is " * 330, "5 " + "ab " * 330),
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda text: text[:10])
def test_no_answer_keeps_the_trainer_itself_busy(answer):
    """What is not done by a worker has no deadline."""
    started = time.process_time()
    fast_equal(Pair("x + 5", answer[:1000]))
    key(answer)
    assert time.process_time() - started < 0.2
