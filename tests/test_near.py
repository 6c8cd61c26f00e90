"""No test sets a limit of its own on rounding: near.py has the only ones, and they are relative."""

import ast
from pathlib import Path

import pytest
import torch
from near import logged, rounded, same, within

TESTS = Path(__file__).parent
# Comparisons with absolute limits, be they given or the library's own.
CALLS = {"assert_close", "allclose", "assert_allclose", "isclose", "assert_almost_equal"}
LIMITS = {"abs", "atol", "abs_tol", "delta"}
# A smaller number that something must stay below is a limit on rounding.
SMALL = 1e-3


def bare_limits(source):
    """Lines with a limit on rounding that says nothing about the size of what is compared."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            given = {keyword.arg for keyword in node.keywords}
            bare = name in CALLS or bool(given & LIMITS)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides, node.ops, sides[1:], strict=False)
            bare = any(_below(*pair) for pair in pairs)
        else:
            continue
        if bare:
            lines.append(node.lineno)
    return sorted(lines)


def _below(left, op, right):
    above = {ast.Lt: right, ast.LtE: right, ast.Gt: left, ast.GtE: left}.get(type(op))
    return isinstance(above, ast.Constant) and 0 < _number(above.value) < SMALL


def _number(value):
    return value if isinstance(value, float) else 0


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_file_has_a_bare_absolute_limit(path):
    if path.name not in ("near.py", Path(__file__).name):
        assert not bare_limits(path.read_text()), "compare by near.py"


@pytest.mark.parametrize(
    "line",
    [
        "torch.testing.assert_close(a, b)",
        "assert not np.allclose(a, b)",
        "assert a == pytest.approx(b, abs=1e-6)",
        "assert math.isclose(a, b, rel_tol=1e-9)",
        "assert (a - b).abs().max() < 1e-5",
        "assert 1e-5 >= (a - b).abs().max()",
        "assert 0 < a <= 2e-6",
    ],
)
def test_what_counts_as_one(line):
    assert bare_limits(line) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "assert a == pytest.approx(b)",
        "assert a == pytest.approx(b, rel=1e-3)",
        "assert (a - b).abs().max() > 1e-5",
        "assert 0 < a < 0.1",
        "assert a < 1 and b == 1e-6",
        "same(a, b)",
    ],
)
def test_what_does_not(line):
    assert bare_limits(line) == []


ONES = torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize(
    "compare",
    [
        lambda: same(ONES * 1e-6, ONES * 1e-6 * (1 + 2e-9)),  # small numbers, too
        lambda: same(ONES.float(), ONES),
        lambda: same(ONES, ONES.float()),
        lambda: same(ONES * float("nan"), ONES),
        lambda: same(ONES[:2], ONES),
        lambda: same(ONES[:0], ONES[:0]),
        lambda: same(0.0, 1e-300),
        lambda: rounded(ONES, ONES, 1e-5),
        lambda: rounded(ONES.float() * (1 + 2e-5), ONES, 1e-5),
        lambda: logged(1.0, 1 + 2e-6),
        lambda: within(1.0, 1.2, 0.1),
        lambda: within(1.0, 1.0, 1e-5),
    ],
)
def test_what_is_not_near(compare):
    with pytest.raises(AssertionError):
        compare()


def test_what_is_near():
    same([1.0, 0.0, -2.0], torch.tensor([1 + 1e-10, 1e-10, -2.0], dtype=torch.float64))
    rounded(ONES.bfloat16() / 3, ONES / 3, 1e-2)
    logged(1.0, 1 + 1e-7)
    within(torch.tensor([0.48, 0.55]), 0.5, 0.1)
