"""The largest micro-batch of scoring and updating, laid out by the code that lays out real rows.

A micro-batch is cut by the tokens of its rows, prompts included, but a prompt that several of them
share is computed once (:mod:`fgexpo.model.shared_prompts`). What it takes depends on the prompts'
length: long ones leave room for few rows, short ones save little.
"""

from bisect import bisect_left
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from ..model.packing import Packed
from ..model.sequences import Sequences
from ..model.shared_prompts import SharedPacked, arrange
from .adapters import packs
from .job import Job


@dataclass(frozen=True)
class Shared:
    """Rows that share prompts.

    Attributes:
        questions: distinct prompts.
        prompt: tokens of each.
        completions: tokens of each row's completion, longest first.
    """

    questions: int
    prompt: int
    completions: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """By which micro-batches are cut: of prompts and completions, row by row."""
        return self.prompt * len(self.completions) + sum(self.completions)

    @property
    def computed(self) -> int:
        """Tokens that reach the layers; a completion's last one predicts nothing."""
        return self.prompt * self.questions + sum(self.completions) - len(self.completions)

    def pays(self) -> bool:
        """Whether these rows are laid out with shared prompts at all."""
        with unset_fake_temporarily():
            return isinstance(arrange(self.sequences()), SharedPacked)

    def sequences(self) -> Sequences:
        """The rows as tensors, whose tokens are all 0; questions take turns, as sorting does."""
        own_N = torch.tensor(self.completions)
        prompt_N = torch.arange(len(own_N)) % self.questions
        longest = int(own_N.max())
        tokens_NL = torch.zeros(len(own_N), self.prompt + longest, dtype=torch.int64)
        return Sequences(tokens_NL, torch.full_like(own_N, self.prompt), own_N, prompt_N, longest)

    def laid_out(self) -> Packed:
        """As a forward pass lays them out; fake where it is called under fake tensors."""
        with unset_fake_temporarily() as mode:
            packed = arrange(self.sequences())
        return packed if mode is None else _fake(packed, mode)


@dataclass(frozen=True)
class Largest:
    """The micro-batch that takes most.

    Attributes:
        tokens: that reach the layers.
        shared: its rows; null where they are laid out whole, at any length up to the longest, as
            all are for a model that needs padded rows.
    """

    tokens: int
    shared: Shared | None


def largest(job: Job) -> Largest:
    """The largest micro-batch over all lengths that the prompts may have."""
    found = [_at(job, prompt) for prompt in _lengths(job.shortest_prompt, job.max_prompt)]
    return max(found, key=lambda one: one.tokens)  # of equals the one of the longest prompt


def _at(job: Job, prompt: int) -> Largest:
    """At one length of prompts, over the numbers of rows that may take most.

    Up to ``full`` rows have room for completions of any length, so each more takes more, but one
    that is the first to be worth sharing; above it each more takes a prompt's room from the others.
    """
    tokens = job.tokens_of(prompt)  # none is cut to fill a micro-batch, if all are so long
    most = max(1, min(job.mini_rows, tokens // (prompt + 1)))
    usual = ceil(tokens / (prompt + 0.75 * job.max_new))
    if not packs(job.config):
        return Largest(min(tokens, most * (prompt + job.max_new)), None)
    full = max(1, min(most, tokens // (prompt + job.max_new)))
    paying = range(1, full + 1)
    whole = bisect_left(paying, True, key=lambda n: _rows(job, prompt, n).pays())
    numbers = (max(1, min(most, n)) for n in (usual, full, full + 1, whole))
    found = [_laid(job, _rows(job, prompt, number)) for number in dict.fromkeys(numbers)]
    return max(found, key=lambda one: one.tokens)


def _rows(job: Job, prompt: int, number: int) -> Shared:
    """So many rows within the limit, with completions as long as they may be together."""
    total = job.tokens_of(prompt) - number * prompt
    return Shared(min(number, job.mini_questions), prompt, _falling(number, job.max_new, total))


def _laid(job: Job, rows: Shared) -> Largest:
    if rows.pays():
        return Largest(rows.computed, rows)
    whole = len(rows.completions) * (rows.prompt + job.max_new)
    return Largest(min(job.tokens_of(rows.prompt), whole), None)


def _falling(number: int, longest: int, total: int) -> tuple[int, ...]:
    """Lengths from the longest down in equal steps, whose sum is the total or a little less."""
    mean = min(total / number, longest)
    shortest = max(1.0, 2 * mean - longest)
    step = (longest - shortest) / max(1, number - 1)
    return tuple(max(1, int(longest - n * step)) for n in range(number))


def _lengths(shortest: int, longest: int) -> list[int]:
    """From the longest down by halves."""
    found = [longest]
    while found[-1] > shortest:
        found.append(max(shortest, found[-1] // 2))
    return found


def held(packed: Packed) -> list[Tensor]:
    """The tensors of a layout."""
    parts = [packed, *packed.segments.buckets]
    values = (getattr(part, field.name) for part in parts for field in fields(part))
    return [value for value in values if isinstance(value, Tensor)]


def _fake(packed: Packed, mode: Any) -> Packed:
    def convert(part: Any) -> Any:
        tensors = {
            field.name: mode.from_tensor(value)
            for field in fields(part)
            if isinstance(value := getattr(part, field.name), Tensor)
        }
        return replace(part, **tensors)

    packed.segments.buckets = [convert(bucket) for bucket in packed.segments.buckets]
    return convert(packed)
