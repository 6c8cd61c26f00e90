"""Prompt + completion rows, and how they are cut into mini-batches."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..groups import Groups
from ..types import Completions


@dataclass
class Sequences:
    """Right-padded rows of prompt followed by completion.

    Under a causal mask, right padding never reaches a real token. So no attention mask is needed,
    and a row's log-probs do not depend on the batch's padding.

    Attributes:
        tokens_NL: int64 [N, L].
        prompt_lengths_N: int64 [N], at least 1 each.
        completion_lengths_N: int64 [N].
        prompt_N: each row's number of its distinct prompt, int64 [N].
        width: T, the width of the per-completion-token tensors.
    """

    tokens_NL: Tensor
    prompt_lengths_N: Tensor
    completion_lengths_N: Tensor
    prompt_N: Tensor
    width: int

    def to(self, device: torch.device | str, **kwargs: Any) -> "Sequences":
        """Move the tensors, so that Lightning can transfer a batch."""
        return Sequences(
            self.tokens_NL.to(device, **kwargs),
            self.prompt_lengths_N.to(device, **kwargs),
            self.completion_lengths_N.to(device, **kwargs),
            self.prompt_N.to(device, **kwargs),
            self.width,
        )

    @property
    def lengths_N(self) -> Tensor:
        """Real tokens per row, [N]."""
        return self.prompt_lengths_N + self.completion_lengths_N

    @property
    def mask_NT(self) -> Tensor:
        """True on completion tokens, bool [N, T]."""
        positions_T = torch.arange(self.width, device=self.tokens_NL.device)
        return positions_T < self.completion_lengths_N[:, None]

    def select(self, rows: Tensor) -> "Sequences":
        """Some of the rows, cut to their longest; the width T stays."""
        longest = int(self.lengths_N[rows].max())
        return Sequences(
            self.tokens_NL[rows, :longest],
            self.prompt_lengths_N[rows],
            self.completion_lengths_N[rows],
            self.prompt_N[rows],
            self.width,
        )


def join(prompts: list[list[int]], completions: Completions, groups: Groups) -> Sequences:
    """Put each of the Q prompts before the completions of its group."""
    device = completions.tokens_NT.device
    prompt_lengths_Q = torch.tensor([len(prompt) for prompt in prompts], device=device)
    prompt_lengths_N = groups.repeat(prompt_lengths_Q)
    lengths_N = prompt_lengths_N + completions.lengths_N
    tokens_NL = completions.tokens_NT.new_zeros(len(lengths_N), int(lengths_N.max()))
    for rows, prompt in zip(groups.rows, prompts, strict=True):
        tokens_NL[rows, : len(prompt)] = torch.tensor(prompt, device=device)
    row, column = completions.mask_NT.nonzero(as_tuple=True)
    tokens_NL[row, prompt_lengths_N[row] + column] = completions.tokens_NT[row, column]
    prompt_N = groups.repeat(torch.arange(len(prompts), device=device))
    width = completions.tokens_NT.shape[1]
    return Sequences(tokens_NL, prompt_lengths_N, completions.lengths_N, prompt_N, width)


def join_solutions(prompts: list[list[int]], solutions: list[list[int]]) -> Sequences:
    """Put each prompt before its given solution."""
    width = max(len(solution) for solution in solutions)
    tokens = torch.tensor([solution + [0] * (width - len(solution)) for solution in solutions])
    lengths = torch.tensor([len(solution) for solution in solutions])
    given = Completions(tokens, lengths, [], torch.zeros(tokens.shape))
    return join(prompts, given, Groups([1] * len(prompts)))
