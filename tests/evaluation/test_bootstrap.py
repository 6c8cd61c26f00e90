import numpy as np
import pytest
from near import same, within

from fgexpo.evaluation.bootstrap import interval, mean_with_interval, resampled_means


def test_equal_scores_leave_no_doubt():
    mean, low, high = mean_with_interval([np.full((7, 2), 0.25)], seed=0)
    same([mean, low, high], np.full((3, 2), 0.25))


def test_the_interval_of_a_share_is_the_binomials():
    values = np.repeat([1.0, 0.0], [120, 280])[:, None]
    mean, low, high = mean_with_interval([values], seed=0)
    error = (0.3 * 0.7 / 400) ** 0.5
    assert mean[0] == pytest.approx(0.3)
    within([low[0], high[0]], [0.3 - 1.96 * error, 0.3 + 1.96 * error], 0.004)


def test_benchmarks_count_alike_and_are_drawn_apart():
    rng = np.random.default_rng(0)
    small, large = rng.random((20, 1)), rng.random((500, 1)) + 1
    mean, low, high = mean_with_interval([small, large], seed=0)
    assert mean[0] == pytest.approx((small.mean() + large.mean()) / 2)
    error = 0.5 * (small.var() / 20 + large.var() / 500) ** 0.5
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_the_same_seed_draws_the_same_questions():
    values = np.arange(10.0)[:, None]
    one, two = resampled_means(values, seed=1), resampled_means(values, seed=1)
    assert one.shape == (10_000, 1) and np.array_equal(one, two)
    assert not np.array_equal(one, resampled_means(values, seed=2))
    low, high = interval(one)
    assert values.min() < low[0] < 4.5 < high[0] < values.max()
