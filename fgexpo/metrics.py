"""Scores from n samples per question: pass@k, maj@k, and how the samples are gathered."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

# The fields kept of each sample, in this order. A vote is a number that stands for the answer.
FIELDS = ("correct", "vote", "tokens", "truncated", "timed_out")
NO_VOTE = -1


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that at least one of k samples, drawn from n with c correct, is correct.

    The unbiased estimator of Chen et al. (arXiv 2107.03374), ``1 - C(n - c, k) / C(n, k)``.

    Raises:
        ValueError: unless 1 <= k <= n and 0 <= c <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@k needs 1 <= k <= n, got k={k}, n={n}")
    if not 0 <= c <= n:
        raise ValueError(f"pass@k needs 0 <= c <= n, got c={c}, n={n}")
    return float(1 - Fraction(comb(n - c, k), comb(n, k)))


@lru_cache(maxsize=65536)
def majority_at_k(correct: int, wrong: tuple[int, ...], silent: int, k: int) -> float:
    """Probability that the most frequent answer of k samples, drawn from all, is correct.

    Exact: the mean over every subset of k samples, with ties broken at random (self-consistency,
    arXiv 2203.11171). Samples without an answer do not vote; a subset without a vote is wrong.

    Args:
        correct: samples whose answer is right; they vote together, whatever its notation.
        wrong: samples with each wrong answer.
        silent: samples without an answer.
        k: votes taken.

    Raises:
        ValueError: unless 1 <= k <= the number of samples.
    """
    n = correct + sum(wrong) + silent
    if not 1 <= k <= n:
        raise ValueError(f"maj@k needs 1 <= k <= n, got k={k}, n={n}")
    won = Fraction(0)
    for votes in range(1, min(correct, k) + 1):
        # Answers too rare to reach this many votes cannot win: they count as silent.
        free = silent + sum(size for size in wrong if size < votes)
        rivals = [size for size in wrong if size >= votes]
        for (used, ties), ways in _ways(rivals, votes, k - votes).items():
            rest = comb(free, k - votes - used)
            won += Fraction(comb(correct, votes) * ways * rest, ties + 1)
    return float(won / comb(n, k))


def _ways(rivals: list[int], limit: int, most: int) -> dict[tuple[int, int], int]:
    """Ways to draw from the rivals, none above ``limit``, by samples drawn and rivals that tie."""
    ways = {(0, 0): 1}
    for size in rivals:
        longer: Counter[tuple[int, int]] = Counter()
        for (used, ties), count in ways.items():
            for votes in range(min(limit, most - used) + 1):
                longer[used + votes, ties + (votes == limit)] += count * comb(size, votes)
        ways = longer
    return ways


def question_scores(samples: Tensor, ks: Sequence[int], maj_ks: Sequence[int]) -> dict[str, float]:
    """All scores of one question.

    Args:
        samples: see :data:`FIELDS`, int64 [5, n].
        ks: values of k of pass@k.
        maj_ks: values of k of maj@k.

    Returns:
        ``pass@k``, ``maj@k``, ``no_answer_frac``, ``truncated_frac``, ``timeout_frac`` and
        ``mean_length`` in tokens.
    """
    correct, vote, tokens, truncated, timed_out = samples.tolist()
    n, c = len(correct), sum(correct)
    wrong = Counter(v for v, ok in zip(vote, correct, strict=True) if not ok and v != NO_VOTE)
    sizes = tuple(sorted(wrong.values()))
    silent = n - c - sum(sizes)
    return {
        **{f"pass@{k}": pass_at_k(n, c, k) for k in ks},
        **{f"maj@{k}": majority_at_k(c, sizes, silent, k) for k in maj_ks},
        "no_answer_frac": vote.count(NO_VOTE) / n,
        "truncated_frac": sum(truncated) / n,
        "timeout_frac": sum(timed_out) / n,
        "mean_length": sum(tokens) / n,
    }


class GradedSamples(Metric):
    """The samples of every question, exact over processes whose shares overlap or differ.

    Args:
        n: samples per question.
    """

    rows: list[Tensor]
    full_state_update = False

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, index_Q: Tensor, samples: Tensor) -> None:
        """Add questions: their rows in the dataset, [Q], and their samples, [Q, 5, n]."""
        assert samples.shape[1:] == (len(FIELDS), self.n), f"expected {self.n} samples per question"
        self.rows.append(torch.cat([index_Q[:, None], samples.flatten(1)], 1))

    def compute(self) -> dict[int, Tensor]:
        """Samples by row, [5, n] each, in order; a question that two processes saw counts once."""
        rows = {int(row[0]): row[1:].view(-1, self.n) for row in dim_zero_cat(self.rows).cpu()}
        return dict(sorted(rows.items()))
