"""pass@k, the field's measure of what a policy can solve in k tries.

Unbiased estimator of Chen et al. (arXiv 2107.03374): from n samples with c correct,
``pass@k = 1 - C(n - c, k) / C(n, k)``.
"""

from collections.abc import Iterable
from math import comb

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that at least one of k samples, drawn from n with c correct, is correct.

    Raises:
        ValueError: unless 1 <= k <= n and 0 <= c <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@k needs 1 <= k <= n, got k={k}, n={n}")
    if not 0 <= c <= n:
        raise ValueError(f"pass@k needs 0 <= c <= n, got c={c}, n={n}")
    return 1.0 - comb(n - c, k) / comb(n, k)


class PassCounts(Metric):
    """How often each question was solved, exact over processes whose shards overlap or differ.

    Args:
        n: samples a question.
    """

    rows: list[Tensor]
    full_state_update = False
    higher_is_better = True

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, index_Q: Tensor, correct_Qn: Tensor) -> None:
        """Add questions: their rows in the dataset, [Q], and verdicts in {0, 1}, [Q, n]."""
        assert correct_Qn.shape[1] == self.n, f"expected {self.n} samples a question"
        self.rows.append(torch.stack([index_Q, correct_Qn.sum(1).to(torch.int64)], 1))

    def compute(self) -> dict[int, int]:
        """Correct samples by question row; a question that two processes saw counts once."""
        return dict(dim_zero_cat(self.rows).tolist())


def mean_pass_at_k(n: int, counts: Iterable[int], ks: Iterable[int]) -> dict[str, float]:
    """``{"pass@1": ..., ...}`` averaged over questions with these counts of correct samples."""
    counts = list(counts)
    return {f"pass@{k}": sum(pass_at_k(n, c, k) for c in counts) / len(counts) for k in ks}
