"""Rollouts by the policy itself, through transformers and a KV cache: no copy of the weights."""

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ..errors import UserError
from ..heartbeat import beat
from ..model.precision import precise
from ..questions import FinishReason
from ..seeding import uniforms
from ..types import Completions
from .draw_token import sample_tokens
from .engine import RolloutEngine, RolloutRequest
from .native_cache import roomy_cache
from .stop_text import ended_by_text

# Finished rows are removed once at most this share of all rows is alive, since removing them copies
# the others' cache.
KEPT_ROWS = 0.8


class Native(RolloutEngine):
    """Prefill each prompt once, fan it out to its G samples, drop rows that have finished.

    Args:
        max_rows: rollouts decoded at once; more prompts wait for the next wave.
    """

    memory_settings = ("model.engine.max_rows",)

    def __init__(self, max_rows: int = 1024) -> None:
        if max_rows < 1:
            raise UserError(f"model.engine.max_rows must be at least 1, got {max_rows}")
        self.max_rows = max_rows

    def generate(self, policy: nn.Module, request: RolloutRequest) -> Completions:
        """See :class:`RolloutEngine`."""
        count, group = len(request.prompts), request.group_size
        limit = request.sampling.max_new_tokens
        shape = (count * group, limit)
        tokens_NT = torch.zeros(shape, dtype=torch.int64, device=request.device)
        dtype = precise(next(policy.parameters()).dtype)
        logp_NT = torch.zeros(shape, dtype=dtype, device=request.device)
        lengths_N = torch.full((shape[0],), limit, dtype=torch.int64, device=request.device)
        stopped_N = torch.zeros(shape[0], dtype=torch.bool, device=request.device)
        wave = max(1, self.max_rows // group)
        with torch.no_grad():
            for start in range(0, count, wave):
                rows = slice(start * group, (start + wave) * group)
                _decode(
                    policy,
                    request,
                    slice(start, start + wave),
                    (tokens_NT[rows], logp_NT[rows], lengths_N[rows], stopped_N[rows]),
                )
        width = int(lengths_N.max())
        finish: list[FinishReason] = ["stop" if stop else "length" for stop in stopped_N.tolist()]
        return Completions(tokens_NT[:, :width], lengths_N, finish, logp_NT[:, :width])


def _decode(
    policy: nn.Module,
    request: RolloutRequest,
    questions: slice,
    out: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Fill ``out`` (tokens, log-probs, lengths, stopped) for some of the questions."""
    tokens_NT, logp_NT, lengths_N, stopped_N = out
    device, sampling = request.device, request.sampling
    seeds = [seed for group in request.seeds[questions] for seed in group]
    uniform_NT = torch.from_numpy(uniforms(seeds, sampling.max_new_tokens)).to(device)
    stop_ids = torch.tensor(request.stop_ids, device=device)

    logits_NV, cache, mask_NL = _prefill(policy, request.prompts[questions], device)
    group = request.group_size
    cache.batch_repeat_interleave(group)
    logits_NV = logits_NV.repeat_interleave(group, 0)
    mask_NL = mask_NL.repeat_interleave(group, 0)
    row_N = torch.arange(len(seeds), device=device)  # which output row each row writes to
    live_N = torch.ones_like(row_N, dtype=torch.bool)
    for t in range(sampling.max_new_tokens):
        beat()
        token_N, token_logp_N = sample_tokens(logits_NV, uniform_NT[row_N, t], sampling)
        tokens_NT[row_N, t] = token_N.where(live_N, 0)
        logp_NT[row_N, t] = token_logp_N.where(live_N, 0.0)
        done_N = torch.isin(token_N, stop_ids) & live_N
        if request.stop_strings is not None:
            done_N |= ended_by_text(request, questions, tokens_NT[:, : t + 1], row_N, live_N)
        lengths_N[row_N[done_N]] = t + 1
        stopped_N[row_N[done_N]] = True
        live_N = live_N & ~done_N
        live = int(live_N.sum())
        if not live or t + 1 == sampling.max_new_tokens:
            break
        if live <= KEPT_ROWS * len(row_N):
            rows = live_N.nonzero().squeeze(-1)
            row_N, token_N, mask_NL, live_N = (
                row_N[rows],
                token_N[rows],
                mask_NL[rows],
                live_N[rows],
            )
            cache.batch_select_indices(rows)
        mask_NL = torch.cat([mask_NL, mask_NL.new_ones(len(row_N), 1)], 1)
        logits_NV = _forward(policy, token_N[:, None], mask_NL, cache)


def _prefill(
    policy: nn.Module, prompts: list[list[int]], device: torch.device
) -> tuple[Tensor, DynamicCache, Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    # Left padding: every row's next token is then at the same index of the cache.
    padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    mask_QL = torch.tensor(mask, device=device)
    cache = roomy_cache(policy.config)
    return _forward(policy, torch.tensor(padded, device=device), mask_QL, cache), cache, mask_QL


def _forward(policy: nn.Module, tokens_Nl: Tensor, mask_NL: Tensor, cache: DynamicCache) -> Tensor:
    position_NL = (mask_NL.cumsum(1) - 1).clamp_min(0)
    return policy(
        input_ids=tokens_Nl,
        attention_mask=mask_NL,
        position_ids=position_NL[:, -tokens_Nl.shape[1] :],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
