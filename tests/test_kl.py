import math

import pytest
from near import same

from fgexpo.kl import Constant, Linear, Rho, Sigmoid, Tanh, check_rho, tanh_scale


def test_tanh_scale_at_the_papers_bounds():
    assert tanh_scale(0.0) == 0.5
    same(tanh_scale(1.0), 0.8807970779778824, rel=1e-12)
    # (tanh(x) + 1) / 2 is the logistic function of 2x: an independent form.
    for accuracy in (0.1, 0.37, 0.9):
        same(tanh_scale(accuracy), 1 / (1 + math.exp(-2 * accuracy)), rel=1e-12)


def test_tanh_rises():
    assert tanh_scale(0.2) < tanh_scale(0.3) < tanh_scale(0.9)


def test_the_other_shapes_by_hand():
    assert Linear(0.5, 1.5)(0.25) == 0.75
    assert Sigmoid(1.0, 3.0, centre=0.5)(0.5) == 2.0
    assert Sigmoid(0.0, 1.0, centre=0.0, slope=2.0)(1.0) == pytest.approx(1 / (1 + math.exp(-2)))
    assert Constant(0.69)(0.1) == 0.69


@pytest.mark.parametrize("rho", [Tanh(), Linear(), Sigmoid(), Constant()])
def test_shipped_shapes_pass_the_check(rho):
    check_rho(rho)


class Falling(Rho):
    def __call__(self, accuracy):
        return 1.0 - 0.5 * accuracy


class Dip(Rho):
    def __call__(self, accuracy):
        return 0.4 if 0.5 < accuracy < 0.52 else 0.5


@pytest.mark.parametrize(
    ("rho", "words"),
    [
        (Falling(), "non-decreasing"),
        (Dip(), "non-decreasing"),
        (Linear(0.0, 1.0), "above 0"),
        (Constant(float("inf")), "finite"),
        (Linear(1.0, 0.5), "non-decreasing"),
    ],
)
def test_bad_shapes_are_refused(rho, words):
    with pytest.raises(ValueError, match=words):
        check_rho(rho)
