"""The reader of the last number, and boxes that are written in other ways."""

import time

import pytest
from processes import OUTER_LIMIT

from fgexpo.errors import UserError
from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier, last_boxed
from fgexpo.rewards.maths.last_number import last_number

# No limit is met, however busy the machine is; one set of workers for all.
PATIENT = MathVerifier(timeout=OUTER_LIMIT, reads="last_number")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so it is 42.", "42"),
        ("first 7, then 42\n", "42"),
        ("it costs $1,234.50", "1,234.50"),
        ("a debt of -$5", "-5"),
        ("= -3", "-3"),
        ("x = \N{MINUS SIGN}3.", "-3"),
        ("10-3", "3"),
        ("10 - 3", "3"),
        ("the range 3\N{EN DASH}5", "5"),
        ("- 5 apples", "5"),
        ("In 2024 there were 7 of them", "7"),
        ("There were 7 of them in 2024.", "2024"),
        ("1.5e3", "1.5e3"),
        ("1.2 x 10^3", r"1.2\times 10^3"),
        (r"1.2 \times 10^{-3}", r"1.2 \times 10^{-3}"),
        ("3/4", "3/4"),
        ("1 1/2 cups", "1 1/2"),
        (r"\frac{3}{4}", r"\frac{3}{4}"),
        ("28%", "28%"),
        (r"28\%", r"28\%"),
        (".5", ".5"),
        ("pi is 3.14.", "3.14"),
        ("1,2,3", "3"),
        ("12,345,67", "67"),
        ("**5** and no more", "5"),
        ("x1 = 5 and x2", "5"),
        ("5 of H2O", "5"),
        ("a_{2}", None),
        ("on 2024-05-06", "06"),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("1234.5", "That makes $1,234.50."),
        ("-3", "so x = -3."),
        (r"\frac{3}{4}", "the share is 3/4"),
        ("0.75", "the share is 3/4"),
        ("1500", "about 1.5e3"),
        ("1200", "1.2 x 10^3 of them"),
        (r"28\%", "a rise of 28%"),
        (r"\frac{3}{2}", "1 1/2 cups"),
    ],
)
def test_what_it_reads_is_graded_like_any_answer(gold, text):
    questions = [Question("", "", gold)] * 2
    right, wrong = PATIENT.verify(questions, [text, f"{text} And 7919."])
    assert right.correct and not wrong.correct


def test_it_is_read_where_a_box_or_a_line_is_missing():
    texts = [r"\boxed{5} of 6", "5 of 6\nAnswer: 7", "8"]
    read = {
        reads: [MathVerifier(reads=reads).final_answer(Question("", "", "1"), t) for t in texts]
        for reads in ("last_number", "box_or_last_number", "line_or_last_number")
    }
    assert read == {
        "last_number": ["6", "7", "8"],
        "box_or_last_number": ["5", "7", "8"],
        "line_or_last_number": ["6", "7", "8"],
    }
    with pytest.raises(UserError, match="last_number"):
        MathVerifier(reads="number")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "text",
    ["1" * 10**5, "1 " * 10**5, "1,111" * 10**5, "$-" * 10**5, "1/" * 10**5, "x1\n" * 10**4],
    ids=lambda text: text[:5],
)
def test_it_takes_linear_time(text):
    started = time.process_time()
    last_number(text)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed 5", "5"),
        (r"so $\boxed 12.$", "12"),
        (r"\boxed -5", "-5"),
        (r"\boxed 1,234", "1,234"),
        (r"\boxed \frac12", r"\frac12"),
        (r"$\boxed\frac{1}{2}$", r"\frac{1}{2}"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\fbox{5}}", "5"),
        (r"\boxed{3} or \boxed 4", "4"),
        (r"\boxed 3 or \boxed{4}", "4"),
        (r"put it in \boxed. so", None),
        (r"\boxed and", None),
        (r"\boxed{5} in \boxed", "5"),
    ],
)
def test_boxes_without_braces_and_by_other_names(text, answer):
    assert last_boxed(text) == answer
