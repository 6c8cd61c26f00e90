"""Curves of scheduled settings, by hand."""

import math
from types import SimpleNamespace

import pytest
from near import same

from fgexpo.losses import Clipped
from fgexpo.rollout import Sampling
from fgexpo.schedules import (
    CosineCurve,
    LinearCurve,
    PiecewiseCurve,
    check_schedule,
    get,
    put,
)


def test_a_line_by_hand():
    curve = LinearCurve(0.4, 0.2, until=30, since=10)
    same([curve(x) for x in (0, 10, 15, 20, 30, 99)], [0.4, 0.4, 0.35, 0.3, 0.2, 0.2])
    assert curve.bounds() == (0.2, 0.4)
    assert {LinearCurve(0.1, 0.1, 7)(x) for x in range(9)} == {0.1}, "no rounding"
    assert LinearCurve(0.3, 0.1, 7)(7) == 0.1


def test_half_a_cosine_by_hand():
    curve = CosineCurve(1.0, 0.0, until=4)
    root = math.sqrt(0.5)
    same([curve(x) for x in range(6)], [1.0, (1 + root) / 2, 0.5, (1 - root) / 2, 0.0, 0.0])


def test_straight_pieces_by_hand():
    curve = PiecewiseCurve([(2, 1.0), (4, 3.0), (5, 0.0)])
    same([curve(x) for x in (0, 2, 3, 4, 4.5, 5, 8)], [1.0, 1.0, 2.0, 3.0, 1.5, 0.0, 0.0])
    assert curve.bounds() == (0.0, 3.0)
    assert PiecewiseCurve([(3, 0.7)])(0) == PiecewiseCurve([(3, 0.7)])(9) == 0.7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LinearCurve(math.nan, 1.0, 9), "LinearCurve.start must be finite, got nan"),
        (lambda: CosineCurve(0.0, math.inf, 9), "CosineCurve.end must be finite, got inf"),
        (lambda: LinearCurve(0.0, 1.0, until=3, since=3), "LinearCurve.until must be above since"),
        (lambda: LinearCurve(0.0, 1.0, until=math.nan), "LinearCurve.until must be above since"),
        (lambda: LinearCurve(0.0, 1.0, until=math.inf), "LinearCurve.until must be above since"),
        (lambda: PiecewiseCurve([]), "PiecewiseCurve.points must name at least one point"),
        (lambda: PiecewiseCurve([(0, 1.0), (0, 2.0)]), "must have x that rises, but 0 follows 0"),
        (lambda: PiecewiseCurve([(0, math.nan)]), "PiecewiseCurve.points must be finite"),
    ],
)
def test_bad_curves(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("setting", "end", "words"),
    [
        ("kl_coef", -0.1, "kl_coef must be finite and not negative, but LinearCurve has -0.1"),
        ("loss.clip_low", 1.0, r"loss.clip_low must be in \(0, 1\), but LinearCurve has 1"),
        ("loss.clip_high", 0.0, "loss.clip_high must be above 0 and finite, but .* has 0"),
        ("sampling.temperature", 0.0, "sampling.temperature must be above 0 and finite"),
        ("group_size", 2.0, "Schedule.setting must be one of kl_coef, .*, got 'group_size'"),
    ],
)
def test_values_out_of_range(setting, end, words):
    with pytest.raises(ValueError, match=words):
        check_schedule(setting, LinearCurve(0.2, end, until=5))


def test_ends_of_the_ranges_are_allowed():
    check_schedule("kl_coef", LinearCurve(0.0, 0.1, until=5))
    check_schedule("loss.entropy_coef", LinearCurve(-0.1, 0.0, until=5))


def test_a_setting_is_set_for_one_module_alone():
    loss, sampling = Clipped(), Sampling()
    one, other = (SimpleNamespace(loss=loss, sampling=sampling, kl_coef=0.1) for _ in range(2))
    for setting, value in (
        ("loss.clip_low", 0.1), ("loss.clip_high", 0.9), ("sampling.temperature", 0.5),
        ("kl_coef", 0.3),
    ):  # fmt: skip
        before = get(other, setting)
        put(one, setting, value)
        assert (get(one, setting), get(other, setting)) == (value, before)
    assert (loss.clip_low, loss.clip_high, sampling.temperature) == (0.2, 0.28, 1.0)
    assert type(one.loss) is Clipped and type(one.sampling) is Sampling
