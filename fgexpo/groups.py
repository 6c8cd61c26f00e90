"""Rollouts by question: each question has a group of them, and groups may differ in size."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Groups:
    """How many rollouts each question has; rollouts lie question by question.

    Args:
        sizes: rollouts of each of Q questions, at least 1; N in all.
        planned: how many of each group's first rollouts were decided on before any of them was
            seen; None for all. Only their mean is an unbiased pass-rate.
        widest: where the groups of different processes may differ in size, a size that none of
            them exceeds, the same on all; None where all have the same.
    """

    def __init__(
        self, sizes: Sequence[int], planned: Sequence[int] | None = None, widest: int | None = None
    ) -> None:
        self.sizes = list(sizes)
        self.planned = self.sizes if planned is None else list(planned)
        self.widest = widest

    def __len__(self) -> int:
        return len(self.sizes)

    def __str__(self) -> str:
        return f"{len(self)} x {self.size or 'up to ' + str(max(self.sizes))}"

    @classmethod
    def join(cls, parts: Iterable["Groups"]) -> "Groups":
        """The groups of several batches, one after another."""
        parts = list(parts)
        return cls(
            [size for part in parts for size in part.sizes],
            [count for part in parts for count in part.planned],
            max((part.widest for part in parts if part.widest is not None), default=None),
        )

    def select(self, questions: Iterable[int]) -> "Groups":
        """Some of the groups."""
        chosen = list(questions)
        sizes = [self.sizes[q] for q in chosen]
        return Groups(sizes, [self.planned[q] for q in chosen], self.widest)

    @property
    def rollouts(self) -> int:
        """N."""
        return sum(self.sizes)

    @property
    def size(self) -> int | None:
        """G, where all groups have the same size; None otherwise."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None

    @property
    def rows(self) -> list[slice]:
        """Which rollouts each question has."""
        ends = list(accumulate(self.sizes, initial=0))
        return [slice(start, end) for start, end in pairwise(ends)]

    def each(self, items: Iterable[T]) -> list[T]:
        """Each question's item for each of its rollouts: Q of them become N."""
        return [x for x, size in zip(items, self.sizes, strict=True) for _ in range(size)]

    def samples(self) -> list[int]:
        """Each rollout's number within its group, from 0; N of them."""
        return [g for size in self.sizes for g in range(size)]

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

    def planned_means(self, values_N: Tensor) -> Tensor:
        """The mean of each group's planned rollouts, [Q]."""
        return Groups(self.planned).means(self.keep_planned(values_N))

    def keep_planned(self, values_N: Tensor) -> Tensor:
        """The planned rollouts alone; those of a group are its first."""
        if self.planned == self.sizes:
            return values_N
        pairs = zip(self.samples(), self.each(self.planned), strict=True)
        return values_N[[sample < count for sample, count in pairs]]
