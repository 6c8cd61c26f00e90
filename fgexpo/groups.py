"""Rollouts by question: each question has a group of them, and groups may differ in size."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Groups:
    """How many rollouts each question has; rollouts lie question by question.

    Args:
        sizes: rollouts of each of Q questions, at least 1; N in all.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def rollouts(self) -> int:
        """N."""
        return sum(self.sizes)

    @property
    def size(self) -> int | None:
        """G, where all groups have the same size; None otherwise."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None

    def repeat(self, values_Q: Tensor) -> Tensor:
        """Each question's value for each of its rollouts: [Q, ...] becomes [N, ...]."""
        return values_Q.repeat_interleave(torch.tensor(self.sizes, device=values_Q.device), 0)

    def by_size(self, function: Callable[[Tensor], Tensor], values_N: Tensor) -> Tensor:
        """Call a function of groups of one size, once for each size.

        Args:
            function: of values [q, G].
            values_N: a value of each rollout.

        Returns:
            What it gave: [N], or [Q] where the function gives one value per group.
        """
        if self.size is not None:
            return function(values_N.view(-1, self.size)).flatten()
        parts = values_N.split(self.sizes)
        found: list[Tensor] = [values_N] * len(parts)
        for size in sorted(set(self.sizes)):
            of_size = [q for q, each in enumerate(self.sizes) if each == size]
            results = function(torch.stack([parts[q] for q in of_size]))
            for q, result in zip(of_size, results.unbind(0), strict=True):
                found[q] = result.reshape(-1)
        return torch.cat(found)

    def means(self, values_N: Tensor) -> Tensor:
        """Each group's mean, [Q]."""
        return self.by_size(lambda values_qG: values_qG.mean(1), values_N)

    def sums(self, values_N: Tensor) -> Tensor:
        """Each group's sum, [Q]."""
        return self.by_size(lambda values_qG: values_qG.sum(1), values_N)
