"""Rollouts by the policy itself, through transformers and a KV cache: no copy of the weights."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from ..errors import UserError
from ..groups import Groups
from ..heartbeat import beat
from ..model.exactness import Trial
from ..model.precision import precise
from ..questions import FinishReason
from ..seeding import uniforms
from ..types import Completions
from .draw_token import sample_tokens
from .engine import RolloutEngine, RolloutRequest
from .limits import NATIVE_LIMITS, matmul_dtype, trainer_dtype
from .native_graphs import CudaGraphs, Recorder
from .native_rows import Rows, forced_logprobs, has_state
from .native_static import StaticRows, is_static
from .native_weights import decoding_copy
from .stop_text import ended_by_text


class Native(RolloutEngine):
    """Prefill each prompt once, fan it out to its G samples, drop rows that have finished.

    Args:
        max_rows: rollouts decoded at once; more prompts wait for the next wave.
        max_logp_difference: the run stops when the log-probs of its samples differ by more than
            this, on average, from the trainer's; null for what the dtype rounds.
        graphs: on a GPU, record the steps of decoding in CUDA graphs, for models whose layers all
            have full attention; the memory of the longest completions is reserved at the start.
    """

    memory_settings = ("model.engine.max_rows",)

    def __init__(
        self,
        max_rows: int = 1024,
        max_logp_difference: float | None = None,
        graphs: bool = True,
    ) -> None:
        if max_rows < 1:
            raise UserError(f"model.engine.max_rows must be at least 1, got {max_rows}")
        if max_logp_difference is not None and not max_logp_difference > 0:
            raise UserError(
                f"model.engine.max_logp_difference must be above 0, got {max_logp_difference}"
            )
        self.max_rows = max_rows
        self.max_logp_difference = max_logp_difference
        self.graphs = graphs
        self._dtype: str | None = None  # of the last samples
        self._in_place = True  # unless a trial has found otherwise

    def generate(self, policy: nn.Module, request: RolloutRequest) -> Completions:
        """See :class:`RolloutEngine`."""
        self._dtype = matmul_dtype(trainer_dtype(policy, request.device), request.device)
        groups, limit = request.groups, request.sampling.max_new_tokens
        shape = (groups.rollouts, limit)
        tokens_NT = torch.zeros(shape, dtype=torch.int64, device=request.device)
        dtype = precise(next(policy.parameters()).dtype)
        logp_NT = torch.zeros(shape, dtype=dtype, device=request.device)
        lengths_N = torch.zeros(shape[0], dtype=torch.int64, device=request.device)
        stopped_N = torch.zeros(shape[0], dtype=torch.bool, device=request.device)
        with torch.no_grad():
            model, read = self.reader(policy, request)
            for questions in _waves(groups, self.max_rows):
                held = groups.rows[questions]
                rows = slice(held[0].start, held[-1].stop)
                _decode(
                    partial(read, model),
                    request,
                    questions,
                    (tokens_NT[rows], logp_NT[rows], lengths_N[rows], stopped_N[rows]),
                )
        width = int(lengths_N.max())
        finish: list[FinishReason] = ["stop" if stop else "length" for stop in stopped_N.tolist()]
        return Completions(tokens_NT[:, :width], lengths_N, finish, logp_NT[:, :width])

    def reader(self, policy: Any, request: RolloutRequest) -> tuple[Any, Callable[..., Any]]:
        """The model that decodes, and what makes its rows of model, prompts and device."""
        if self.graphs and self._in_place and request.device.type == "cuda" and is_static(policy):
            return decode_in_place(policy, request, CudaGraphs)
        return policy, Rows

    def logp_limit(self) -> float | None:
        """See :class:`RolloutEngine`."""
        if self.max_logp_difference is not None:
            return self.max_logp_difference
        return None if self._dtype is None else NATIVE_LIMITS[self._dtype]

    def check_repeats(self) -> None:
        """See :class:`RolloutEngine`. It does: each row is drawn by numbers of its own."""

    def check_model(self, policy: nn.Module, trial: Trial) -> None:
        """See :class:`RolloutEngine`."""
        fault = trial.fault("decoded", partial(forced_logprobs, policy, trial.sequences))
        if fault is not None:
            if has_state(policy):
                fault = "is not enough for its recurrent layers (linear attention, Mamba)"
            raise UserError(
                f"model.engine: Native cannot sample from a {type(policy).__name__}: decoding with "
                f"a KV cache {fault}, against the model's own forward pass on each row; use VLLM"
            )
        if self.graphs and torch.cuda.is_available() and is_static(policy):
            fault = self.try_in_place(policy, trial)
            self._in_place = fault is None
            if fault is not None:
                rank_zero_warn(
                    f"model.engine: decoding a {type(policy).__name__} with CUDA graphs {fault}, "
                    "against the model's own forward pass; it decodes without them, and slower"
                )

    def try_in_place(self, policy: nn.Module, trial: Trial) -> str | None:
        """What is wrong with this model's decoding in place; None if nothing is."""
        read = partial(StaticRows, new=trial.sequences.width)

        def logprobs() -> Tensor:
            model = decoding_copy(policy, torch.device("cpu"))
            return forced_logprobs(model, trial.sequences, read)

        return trial.fault("decoded in place", logprobs)


def _waves(groups: Groups, limit: int) -> Iterator[slice]:
    """Cut the questions into slices of at most so many rollouts, or of a single question."""
    start = rows = 0
    for q, size in enumerate(groups.sizes):
        if q > start and rows + size > limit:
            yield slice(start, q)
            start, rows = q, 0
        rows += size
    yield slice(start, len(groups))


def decode_in_place(
    policy: nn.Module, request: RolloutRequest, recorder: Callable[[torch.device], Recorder]
) -> tuple[Any, Callable[..., Any]]:
    """See :meth:`Native.reader`; the steps are recorded."""
    read = partial(StaticRows, new=request.sampling.max_new_tokens, recorder=recorder)
    return decoding_copy(policy, request.device), read


def _decode(
    read: Callable[..., Any],
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

    rows = read(request.prompts[questions], device)
    rows.repeat(Groups([len(group) for group in request.seeds[questions]]))
    row_N = torch.arange(len(seeds), device=device)  # which output row each row writes to
    live_N = torch.ones_like(row_N, dtype=torch.bool)
    for t in range(sampling.max_new_tokens):
        beat()
        token_N, token_logp_N = sample_tokens(rows.logits_NV, uniform_NT[row_N, t], sampling)
        tokens_NT[row_N, t] = token_N.where(live_N, 0)
        logp_NT[row_N, t] = token_logp_N.where(live_N, 0.0)
        done_N = torch.isin(token_N, stop_ids) & live_N
        if request.stop_strings is not None:
            done_N |= ended_by_text(request, questions, tokens_NT[:, : t + 1], row_N, live_N)
        lengths_N[row_N] += live_N
        live_N = live_N & ~done_N
        stopped_N[row_N] = ~live_N
        if t + 1 == sampling.max_new_tokens:
            break
        if (t + 1) % rows.check_every == 0:  # reading numbers waits for the device
            live = int(live_N.sum())
            if not live:
                break
            count = rows.fewer(live)
            if count < len(row_N):
                # Rows that have ended may fill up the number; their order stays.
                kept = (~live_N).byte().argsort(stable=True)[:count].sort().values
                row_N, token_N, live_N = row_N[kept], token_N[kept], live_N[kept]
                rows.keep(kept)
        rows.add(token_N)
