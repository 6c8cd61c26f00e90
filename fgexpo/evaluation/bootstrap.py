"""Percentile bootstrap over questions (Efron 1979): how certain a mean over few questions is."""

from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
_AT_ONCE = 1000


def resampled_means(values: np.ndarray, seed: int, draws: int = DRAWS) -> np.ndarray:
    """Means of questions drawn with replacement.

    Args:
        values: scores of Q questions, [Q, S].
        seed: seed of the draws; one per benchmark, so that its scores move together.
        draws: number of means.

    Returns:
        [draws, S].
    """
    questions = len(values)
    rng = np.random.default_rng(seed)
    shares = np.full(questions, 1 / questions)
    parts = [
        rng.multinomial(questions, shares, size=min(_AT_ONCE, draws - start)) @ values
        for start in range(0, draws, _AT_ONCE)
    ]
    return np.concatenate(parts) / questions


def interval(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the central 95 %, [S] each, of resampled means, [draws, S]."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def mean_with_interval(
    groups: Sequence[np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of the groups' means, and its interval; every group is resampled separately.

    Args:
        groups: scores of the questions of each benchmark, [Q, S] each.
        seed: seed of the draws.

    Returns:
        Mean, lower and upper end, [S] each.
    """
    means = np.mean([group.mean(0) for group in groups], axis=0)
    resampled = np.mean(
        [resampled_means(group, seed + place) for place, group in enumerate(groups)], axis=0
    )
    return means, *interval(resampled)
