"""Rows without padding in which a prompt appears once for all of its completions.

A group's completions have the same prompt, so the prompt's hidden states are the same in each; they
are computed once and attended to by all. A completion's last token predicts nothing that is needed,
so it is left out. Log-probs equal those of separate rows, up to rounding. On short completions this
saves most of the work; where it saves little, :mod:`fgexpo.model.packing` lays rows out whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .packing import MAX_PADDING, Bucket, Packed, Segments, lay_out
from .sequences import Sequences

# Prompts are shared if that leaves at most this share of the tokens.
WORTHWHILE = 7 / 8
# Cells of an attention matrix that cost as much as one more kernel call.
CALL_CELLS = 2**15
# Limit on a mask's cells; attention keeps the mask in every layer until the backward pass. Above
# it, only prompts of equal length share a bucket, which needs one mask for all its rows; if even
# that is above it, prompts are not shared.
MASK_CELLS = 2**20


def arrange(sequences: Sequences) -> Packed:
    """Lay rows out with shared prompts if that pays, else whole."""
    first_P, prompt_of_N = _distinct(sequences.prompt_N)
    rest_N = (sequences.completion_lengths_N - 1).clamp_min(0)
    tokens = int(sequences.prompt_lengths_N[first_P].sum() + rest_N.sum())
    longest = int(rest_N.max())
    cells = longest * (int(sequences.prompt_lengths_N.max()) + longest)
    if tokens > WORTHWHILE * int(sequences.lengths_N.sum()) or cells > MASK_CELLS:
        return lay_out(sequences)
    return _lay_out_shared(sequences, first_P, prompt_of_N, rest_N)


@dataclass(frozen=True)
class SharedPacked(Packed):
    """A row of prompts and completions; ``offset_N`` is where each completion begins.

    Attributes:
        prompt_offset_N: where each completion's prompt begins, [N].
        prompt_lengths_N: tokens of these prompts, [N].
    """

    prompt_offset_N: Tensor
    prompt_lengths_N: Tensor

    def places(self, row_M: Tensor, position_M: Tensor) -> Tensor:
        """See :class:`~fgexpo.model.packing.Packed`."""
        inside_M = position_M - self.prompt_lengths_N[row_M]
        return torch.where(
            inside_M < 0,
            self.prompt_offset_N[row_M] + position_M,
            self.offset_N[row_M] + inside_M,
        )


@dataclass(frozen=True)
class Continued(Bucket):
    """Completions that attend to prompts elsewhere in the row and to themselves.

    Attributes:
        key_nL: indices of the keys in the row: prompts, padded on the left, then completions.
        mask_n1TL: which keys a token sees; n is 1 if all prompts have the same length.
    """

    key_nL: Tensor
    mask_n1TL: Tensor

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]
    ) -> Tensor:
        """See :class:`~fgexpo.model.packing.Bucket`."""
        shape = self.key_nL.shape
        keys, values = (
            row[0].index_select(1, self.key_nL.flatten()).unflatten(1, shape).transpose(0, 1)
            for row in (key, value)
        )
        # Query heads of a key head follow one another, so that no key is copied for each.
        query_nhTd = self.pad(query)
        count = query_nhTd.shape[1] // keys.shape[1]
        found = F.scaled_dot_product_attention(
            query_nhTd.unflatten(1, (-1, count)).flatten(2, 3),
            keys,
            values,
            attn_mask=self.mask_n1TL.repeat(1, 1, count, 1),
            dropout_p=options.get("dropout", 0.0),
            scale=options.get("scaling"),
        )
        return self.unpad(found.unflatten(2, (count, -1)).flatten(1, 2).transpose(1, 2))


def _lay_out_shared(
    sequences: Sequences, first_P: Tensor, prompt_of_N: Tensor, rest_N: Tensor
) -> SharedPacked:
    device, tokens_NL = sequences.tokens_NL.device, sequences.tokens_NL
    position_L = torch.arange(tokens_NL.shape[1], device=device)
    lengths_P = sequences.prompt_lengths_N[first_P]
    order_P = torch.argsort(lengths_P, descending=True, stable=True)
    offset_P = _offsets(lengths_P, order_P)
    prompt_PL = position_L < lengths_P[order_P, None]
    prompts = int(lengths_P.sum())
    # Longest first; among these, the longest prompt first.
    by_prompt_N = torch.argsort(sequences.prompt_lengths_N, descending=True, stable=True)
    order_N = by_prompt_N[torch.argsort(rest_N[by_prompt_N], descending=True, stable=True)]
    offset_N = prompts + _offsets(rest_N, order_N)
    begin_N1 = sequences.prompt_lengths_N[order_N, None]
    rest_NL = (position_L >= begin_N1) & (position_L < begin_N1 + rest_N[order_N, None])
    prompt_offset_N = offset_P[prompt_of_N]
    segments = Segments(lengths_P[order_P].tolist(), device)
    segments.buckets += _continued(
        offset_N[order_N],
        rest_N[order_N],
        prompt_offset_N[order_N],
        sequences.prompt_lengths_N[order_N],
    )
    return SharedPacked(
        torch.cat([tokens_NL[first_P[order_P]][prompt_PL], tokens_NL[order_N][rest_NL]])[None],
        torch.cat(
            [position_L.expand_as(prompt_PL)[prompt_PL], position_L.expand_as(rest_NL)[rest_NL]]
        )[None],
        offset_N,
        segments,
        prompt_offset_N,
        sequences.prompt_lengths_N,
    )


def _distinct(prompt_N: Tensor) -> tuple[Tensor, Tensor]:
    """One row of each distinct prompt, [P], and which of these each row has, [N]."""
    numbers_P, prompt_of_N = torch.unique(prompt_N, return_inverse=True)
    rows_N = torch.arange(len(prompt_N), device=prompt_N.device)
    first_P = torch.full_like(numbers_P, len(prompt_N))
    return first_P.scatter_reduce(0, prompt_of_N, rows_N, "amin"), prompt_of_N


def _offsets(lengths_N: Tensor, order_N: Tensor) -> Tensor:
    """Where each begins when they follow one another in this order."""
    sorted_N = lengths_N[order_N]
    offset_N = torch.empty_like(lengths_N)
    offset_N[order_N] = sorted_N.cumsum(0) - sorted_N
    return offset_N


def _continued(
    offset_N: Tensor, rest_N: Tensor, prompt_offset_N: Tensor, prompt_lengths_N: Tensor
) -> Iterator[Continued]:
    """Cut completions, longest first, into buckets."""
    rest, prompts = rest_N.tolist(), prompt_lengths_N.tolist()
    for first, stop in _similar(rest, prompts):
        rows = slice(first, stop)
        yield _bucket(
            rest[rows], prompts[rows], offset_N[rows], prompt_offset_N[rows], prompt_lengths_N[rows]
        )


def _bucket(
    rest: list[int],
    prompts: list[int],
    offset_n: Tensor,
    prompt_offset_n: Tensor,
    prompt_lengths_n: Tensor,
) -> Continued:
    device, longest = offset_n.device, max(prompts)
    key_L = torch.arange(longest + rest[0], device=device)
    # Keys before the prompt are padding: any index will do for them.
    place_nL = key_L - longest + prompt_lengths_n[:, None]
    rest_n = torch.tensor(rest, device=device)[:, None]
    own_nL = (key_L - longest).clamp_min(0).minimum(rest_n - 1)
    key_nL = torch.where(
        key_L < longest,
        prompt_offset_n[:, None] + place_nL.clamp_min(0),
        offset_n[:, None] + own_nL,
    )
    query_T1 = torch.arange(rest[0], device=device)[:, None]
    seen_nTL = (key_L <= longest + query_T1)[None]
    if len(set(prompts)) > 1:
        seen_nTL = seen_nTL & (place_nL >= 0)[:, None]
    return Continued(int(offset_n[0]), tuple(rest), device, key_nL, seen_nTL[:, None])


def _similar(rest: list[int], prompts: list[int]) -> Iterator[tuple[int, int]]:
    """Cut completions, longest first, where padding would cost more than another kernel call."""
    first, longest, shortest, real = 0, 0, prompts[0], 0
    count = sum(1 for length in rest if length)  # the others have nothing to compute
    for n in range(count):
        wider, narrower = max(longest, prompts[n]), min(shortest, prompts[n])
        real_then = real + rest[n] * (prompts[n] + rest[n])
        cells = (n + 1 - first) * rest[first] * (wider + rest[first])
        mask = cells if wider > narrower else 0
        if n > first and (cells > MAX_PADDING * real_then + CALL_CELLS or mask > MASK_CELLS):
            yield first, n
            first, longest, shortest = n, prompts[n], prompts[n]
            real = rest[n] * (prompts[n] + rest[n])
        else:
            longest, shortest, real = wider, narrower, real_then
    if count:
        yield first, count
