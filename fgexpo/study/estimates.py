"""What the runs of an arm say, and how sure that is; pure functions of arrays.

Runs and questions are both samples: another base or seed, and other questions, would have given
other scores. Both are resampled (the pigeonhole bootstrap of Owen 2007, arXiv 0712.1111), runs
within their base, so an interval covers seeds AND questions. A pair has the same base and seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics import pass_at_k

DRAWS = 4000
LEVEL = 0.95
SEED = 0  # of the resampling; one for all, so that every score of a study sees the same draws


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def question_scores(correct_RQ: np.ndarray, n: int, k: int) -> np.ndarray:
    """Unbiased pass@k of every run and question, [R, Q], from correct samples out of n."""
    by_count = np.array([pass_at_k(n, c, k) for c in range(n + 1)])
    return by_count[correct_RQ.astype(int)]


def resampled(
    scores_RQ: np.ndarray, strata: Sequence[int], seed: int, draws: int = DRAWS
) -> np.ndarray:
    """Means over runs drawn within their strata and questions drawn, both with replacement.

    Args:
        scores_RQ: a score, or a difference of two, of every run and question.
        strata: the base of each run, R of them.
        seed: of the draws; equal seeds draw equally, so that differences are paired.
        draws: how many.

    Returns:
        [draws].
    """
    rng = np.random.default_rng(seed)
    runs, questions = scores_RQ.shape
    of_runs = np.zeros((draws, runs))
    for stratum in sorted(set(strata)):
        places = np.flatnonzero(np.asarray(strata) == stratum)
        shares = np.full(len(places), 1 / len(places))
        of_runs[:, places] = rng.multinomial(len(places), shares, size=draws)
    of_questions = rng.multinomial(questions, np.full(questions, 1 / questions), size=draws)
    return np.einsum("br,rq,bq->b", of_runs, scores_RQ, of_questions, optimize=True) / (
        runs * questions
    )


def estimate(
    scores_RQ: np.ndarray, strata: Sequence[int], seed: int, comparisons: int = 1
) -> Estimate:
    """Mean with its central 95 % interval, widened for several comparisons (Bonferroni)."""
    tail = (1 - LEVEL) / 2 / comparisons
    low, high = np.quantile(resampled(scores_RQ, strata, seed), [tail, 1 - tail])
    return Estimate(float(scores_RQ.mean()), float(low), float(high))


def rollouts_to(target: float, rollouts: Sequence[float], scores: Sequence[float]) -> float | None:
    """Rollouts at which a curve first reaches the target, on the line between two validations."""
    previous: tuple[float, float] | None = None
    for spent, score in zip(rollouts, scores, strict=True):
        if score >= target:
            if previous is None or previous[1] >= score:
                return spent
            share = (target - previous[1]) / (score - previous[1])
            return previous[0] + share * (spent - previous[0])
        previous = spent, score
    return None
