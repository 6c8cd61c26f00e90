"""Rows that are decoded together: their KV cache, and which of its places are padding."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from ..groups import Groups
from ..model.sequences import Sequences
from .native_cache import roomy_cache
from .native_step import is_plain, next_logits

# Finished rows are removed once at most this share of all rows is alive, since removing them copies
# the others' cache.
KEPT_ROWS = 0.8


class Rows:
    """Prompts that have been read; each row then grows by one token at a time.

    Args:
        policy: the causal LM.
        prompts: token ids of Q prompts.
        device: of the policy.

    Attributes:
        logits_NV: of each row's next token, [N, V]; N is Q at first.
        check_every: tokens after which it pays to look which rows have ended.
    """

    check_every = 1

    def __init__(self, policy: Any, prompts: list[list[int]], device: torch.device) -> None:
        tokens_QL, self._mask_NL = left_padded(prompts, device)
        self._policy = policy
        self._cache = roomy_cache(policy.config)
        self._padded = len({len(prompt) for prompt in prompts}) > 1
        self._plain = is_plain(policy, self._cache)
        self.logits_NV = forward(policy, tokens_QL, self._mask_NL, self._cache)

    def repeat(self, groups: Groups) -> None:
        """Put as many copies of each row in its place as its prompt has rollouts."""
        if groups.size is None:
            rows = torch.arange(len(groups), device=self._mask_NL.device)
            self._cache.batch_select_indices(groups.repeat(rows))
        else:
            self._cache.batch_repeat_interleave(groups.size)
        self.logits_NV = groups.repeat(self.logits_NV)
        self._mask_NL = groups.repeat(self._mask_NL)

    def keep(self, rows: Tensor) -> None:
        """Keep some of the rows, before the next token is added."""
        self._cache.batch_select_indices(rows)
        self._mask_NL = self._mask_NL[rows]

    def fewer(self, live: int) -> int:
        """How many rows to keep of which so many are live: these alone, or all."""
        now = len(self.logits_NV)
        return live if live <= KEPT_ROWS * now else now

    def add(self, token_N: Tensor) -> None:
        """Add a token to each row, int64 [N]."""
        mask_NL = self._mask_NL
        self._mask_NL = torch.cat([mask_NL, mask_NL.new_ones(len(mask_NL), 1)], 1)
        if self._plain:
            position_N1 = self._mask_NL.sum(1, keepdim=True) - 1
            seen_NL = self._mask_NL.bool() if self._padded else None
            self.logits_NV = next_logits(self._policy, token_N, position_N1, seen_NL, self._cache)
        else:
            self.logits_NV = forward(self._policy, token_N[:, None], self._mask_NL, self._cache)


def left_padded(prompts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts in one table, so that every row's next token has the same index, and their mask."""
    longest = max(len(prompt) for prompt in prompts)
    padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(padded, device=device), torch.tensor(mask, device=device)


def forward(policy: Any, tokens_Nl: Tensor, mask_NL: Tensor, cache: DynamicCache) -> Tensor:
    """Logits of the next token, [N, V], after adding tokens to the cache, L with these."""
    position_NL = (mask_NL.cumsum(1) - 1).clamp_min(0)
    return policy(
        input_ids=tokens_Nl,
        attention_mask=mask_NL,
        position_ids=position_NL[:, -tokens_Nl.shape[1] :],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]


def has_state(policy: Any) -> bool:
    """Whether some layers keep a state that is no list of keys and values."""
    layers = roomy_cache(policy.config).layers
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def forced_logprobs(policy: Any, sequences: Sequences, read: Callable[..., Any] = Rows) -> Tensor:
    """Log-probs of given completions, [N, T], in the steps in which samples are drawn.

    Args:
        policy: the causal LM.
        sequences: prompt by prompt.
        read: makes :class:`Rows`, or others that grow like these, of policy, prompts and device.
    """
    lengths_N, ends_N = sequences.completion_lengths_N, sequences.lengths_N
    prompts_N = sequences.prompt_N.tolist()
    counts = Counter(prompts_N)  # in order
    first = [prompts_N.index(q) for q in counts]
    heads = [sequences.tokens_NL[n, : int(sequences.prompt_lengths_N[n])] for n in first]
    rows = read(policy, [head.tolist() for head in heads], ends_N.device)
    rows.repeat(Groups(list(counts.values())))
    row_N = torch.arange(len(prompts_N), device=ends_N.device)
    logp_NT = rows.logits_NV.new_zeros(sequences.mask_NT.shape)
    for t in range(sequences.width):
        token_N = sequences.tokens_NL[row_N, ends_N[row_N] - lengths_N[row_N] + t]
        chosen_N1 = rows.logits_NV.log_softmax(-1).gather(1, token_N[:, None])
        logp_NT[row_N, t] = chosen_N1[:, 0]
        alive = (lengths_N[row_N] > t + 1).nonzero()[:, 0]
        if len(alive) < len(row_N):
            row_N, token_N = row_N[alive], token_N[alive]
            rows.keep(alive)
        if len(row_N) == 0:
            break
        rows.add(token_N)
    return logp_NT
