"""Means over the runs of an arm, and their uncertainty; pure functions of arrays.

Runs and questions are both samples: other seeds or other questions would have given other
scores. So the mean of a table of runs x questions has the variance of two crossed random effects
(Searle, Casella and McCulloch, *Variance Components*, 1992, chapter 4), with t quantiles at
Satterthwaite's degrees of freedom (1946), since the runs are few. Runs vary within their base: the
intervals hold for these bases. A pair of runs has the same base and seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..metrics import pass_at_k

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def pass_at_k_by_question(correct_RQ: np.ndarray, n: int, k: int) -> np.ndarray:
    """Unbiased pass@k of every run and question, [R, Q], from correct samples out of n."""
    by_count = np.array([pass_at_k(n, c, k) for c in range(n + 1)])
    return by_count[correct_RQ.astype(int)]


def estimate(scores_RQ: np.ndarray, strata: Sequence[int], comparisons: int = 1) -> Estimate:
    """Mean with its 95 % interval, widened for several comparisons (Bonferroni).

    Args:
        scores_RQ: a score, or a difference of two, of every run and question.
        strata: the base of each run, R of them.
        comparisons: number of intervals that must hold together.
    """
    variance, freedom = variance_of_mean(scores_RQ, strata)
    mean = float(scores_RQ.mean())
    if variance == 0:
        return Estimate(mean, mean, mean)
    reach = float(stats.t.isf((1 - LEVEL) / 2 / comparisons, freedom)) * variance**0.5
    return Estimate(mean, mean - reach, mean + reach)


def variance_of_mean(scores_RQ: np.ndarray, strata: Sequence[int]) -> tuple[float, float]:
    """Variance of the table's mean, and its degrees of freedom.

    ``(MS_runs + MS_questions - MS_rest) / (R Q)``, runs within strata, never less than one of the
    first two alone. A stratum of a single run says nothing about how runs vary; if all are so, only
    the questions' part remains.

    Args:
        scores_RQ: [R, Q].
        strata: R of them.
    """
    runs, questions = scores_RQ.shape
    of_question = scores_RQ.mean(0) - scores_RQ.mean()
    ms_questions = runs * float((of_question**2).sum()) / (questions - 1)
    ss_runs = ss_rest = 0.0
    for stratum in set(strata):
        table = scores_RQ[np.asarray(strata) == stratum]
        of_run = table.mean(1, keepdims=True) - table.mean()
        ss_runs += questions * float((of_run**2).sum())
        ss_rest += float(((table - table.mean(0) - of_run) ** 2).sum())
    free = runs - len(set(strata))
    if free == 0:
        return ms_questions / (runs * questions), questions - 1
    ms_runs, ms_rest = ss_runs / free, ss_rest / (free * (questions - 1))
    total = max(ms_runs + ms_questions - ms_rest, ms_runs, ms_questions)
    if total == 0:
        return 0.0, free
    spread = ms_runs**2 / free + ms_questions**2 / (questions - 1)
    return total / (runs * questions), total**2 / spread


def over_runs(values_RX: np.ndarray, strata: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Mean over runs with the ends of its 95 % interval, [X] each; NaN ends where none is known.

    Runs vary within their base, as in :func:`variance_of_mean`, but the questions are taken as
    given: this is how much other seeds would move a curve.

    Args:
        values_RX: X numbers of each of R runs.
        strata: the base of each run, R of them.
    """
    bases = np.asarray(strata)
    mean, runs = values_RX.mean(0), len(bases)
    free = runs - len(set(strata))
    if free == 0:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    parts = [values_RX[bases == base] for base in set(strata)]
    squares = sum(((part - part.mean(0)) ** 2).sum(0) for part in parts)
    reach = float(stats.t.isf((1 - LEVEL) / 2, free)) * np.sqrt(squares / free / runs)
    return mean, mean - reach, mean + reach


def rollouts_to(target: float, rollouts: Sequence[float], scores: Sequence[float]) -> float | None:
    """Rollouts at which a curve first reaches the target, interpolated between validations."""
    previous: tuple[float, float] | None = None
    for spent, score in zip(rollouts, scores, strict=True):
        if score >= target:
            if previous is None:
                return spent
            share = (target - previous[1]) / (score - previous[1])
            return previous[0] + share * (spent - previous[0])
        previous = spent, score
    return None
