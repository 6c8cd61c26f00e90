import itertools
import random
from collections import Counter

import pytest

from fgexpo.datamodules import SupervisedDataModule
from fgexpo.rewards import grade
from fgexpo.tasks import TinyArithmetic
from fgexpo.tasks.arithmetic import FAMILIES, LEVELS, distinct, problems, to_question

CELLS = list(itertools.product(FAMILIES, LEVELS))


def key(question):
    family, _, rest = question.id.split("/", 2)
    return family, rest


def test_no_split_meets_another():
    splits = {}
    for split, count in (("pool", 70), ("held_out", 10), ("validation", 5)):
        source = TinyArithmetic(split, count)
        assert len(source.questions()) == 24 * count
        splits[split] = {key(question) for question in source.questions()}
    stream = SupervisedDataModule(val={}, batch_size=512)
    splits["warm_up"] = {(p.family, p.key) for step in range(20) for p in stream.batch(step)}
    for one, other in itertools.combinations(splits, 2):
        assert not splits[one] & splits[other], (one, other)


def test_swapped_operands_are_the_same_question():
    a = FAMILIES["add"](random.Random(1), 2)
    first, second = a.prompt.removesuffix("=?").split("+")
    keys = {
        p.key
        for p in itertools.islice(problems(a.split, 0, "add", 2), 20_000)
        if p.prompt in (f"{first}+{second}=?", f"{second}+{first}=?")
    }
    assert keys == {a.key}


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_no_constant_answer_is_worth_guessing(family, level):
    rng = random.Random(7)
    answers = Counter(FAMILIES[family](rng, level).answer for _ in range(20_000))
    assert answers.most_common(1)[0][1] / 20_000 < 0.02


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_answers_are_right(family, level):
    """Solve each prompt again, from its text."""
    for problem in itertools.islice(problems("pool", 3, family, level), 50):
        text = problem.prompt
        if family == "sequence":
            a, b, c = (int(x) for x in text.split(",")[:3])
            assert b - a == c - b
            expected = c + (c - b)
        elif family == "linear":
            left, right = text.removesuffix(",x=?").split("=")
            factor, rest = left.split("*x+")
            expected = next(x for x in range(1000) if int(factor) * x + int(rest) == int(right))
        else:
            plain = "".join(
                part.lstrip("0") or "0" for part in split_numbers(text.removesuffix("=?"))
            )
            expected = eval(plain, {"__builtins__": {}})
        assert problem.answer == expected, text
        assert grade(str(problem.answer), problem.solution) == 1.0


def split_numbers(text):
    return ["".join(group) for _, group in itertools.groupby(text, str.isdigit)]


def test_sources_are_reproducible_and_ids_unique():
    one, two = TinyArithmetic("pool", 20).questions(), TinyArithmetic("pool", 20).questions()
    assert one == two
    assert len({question.id for question in one}) == len(one)
    assert TinyArithmetic("pool", 20, seed=1).questions() != one
    assert {q.tags["level"] for q in TinyArithmetic("pool", 2, levels=[2]).questions()} == {"2"}


def test_an_exhausted_split_says_so():
    with pytest.raises(ValueError, match="fewer than the 5000"):
        distinct("held_out", 5000, 0, "multiply", 1)


def test_unknown_names():
    for bad in (("train", 0, "add", 1), ("pool", 0, "divide", 1), ("pool", 0, "add", 5)):
        with pytest.raises(ValueError, match="must be one of"):
            next(problems(*bad))


def test_tokenizer_round_trip(tokenizer):
    for family, level in CELLS:
        problem = next(problems("pool", 0, family, level))
        for text in (problem.prompt, problem.solution):
            tokens = tokenizer(text).input_ids
            assert tokenizer.decode(tokens) == text
            assert tokenizer.pad_token_id not in tokens
    assert len(tokenizer(r"12\boxed{3}").input_ids) == 5
    assert to_question(problem).answer == str(problem.answer)
