"""Rollouts by vLLM in the same process as the policy: for every model that is not tiny.

The engine has a copy of the weights. Only :meth:`VLLM._take_over` updates it, in the order wake ->
load -> reset the prefix cache; everything else only marks the copy as stale.
"""

import itertools
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from ...errors import EnvironmentFailure, UserError
from ...heartbeat import PATIENT, beat, phase
from ...parallel.whole_weights import full_weights
from ...seeding import hash_seed
from ...types import Completions
from ..engine import RolloutEngine, RolloutRequest
from ..limits import LIMITS, trainer_dtype
from ..stop_text import cut_at_text
from .cache_size import cpu_cache_bytes, token_bytes
from .formats import (
    cpu_arguments,
    read_samples,
    sampling_arguments,
    to_all,
    to_ask,
    to_completions,
)
from .needs import check_installed, check_interface, quiet, stay_on_this_node
from .tensor_parallel import EngineGroup, own_rows

_REQUESTS = itertools.count()  # a name is never reused, even if its request failed
RELOAD_LOGGER = "vllm.model_executor.model_loader.reload.layerwise"
# Asks vLLM for kernels whose results do not depend on what else is in a batch.
INVARIANT = "VLLM_BATCH_INVARIANT"


class VLLM(RolloutEngine):
    """Colocated vLLM: prefix caching, one prefill for the G rollouts of a question.

    Args:
        memory: share of the device's memory that the engine may use, including weights; on a CPU,
            share of the host's memory that its cache may use.
        tensor_parallel: processes that share one engine, next to each other in rank.
        sleep: free the memory while the policy is updated; needs a GPU.
        seeded: draw each question's rollouts from their own seed, so that a resumed run draws the
            same ones; false is faster on a GPU.
        eager: no compilation and no CUDA graphs.
        dtype: dtype of the engine's weights; null for the policy's own.
        max_sequences: sequences decoded at once.
        max_logp_difference: the run stops when the engine's log-probs of its samples differ by
            more than this, on average, from the trainer's; null for the dtype's rounding.
    """

    memory_settings = ("model.engine.memory", "model.engine.max_sequences")
    cuts_logprobs = True
    collective = True

    def __init__(
        self,
        memory: float = 0.4,
        tensor_parallel: int = 1,
        sleep: bool = True,
        seeded: bool = True,
        eager: bool = False,
        dtype: str | None = None,
        max_sequences: int = 256,
        max_logp_difference: float | None = None,
    ) -> None:
        check_installed()
        if not 0 < memory < 1:
            raise UserError(f"model.engine.memory must be in (0, 1), got {memory}")
        if tensor_parallel < 1 or max_sequences < 1:
            raise UserError("model.engine.tensor_parallel and max_sequences must be at least 1")
        if dtype is not None and dtype not in LIMITS:
            raise UserError(f"model.engine.dtype must be one of {list(LIMITS)}, got {dtype!r}")
        self.memory = memory
        self.tensor_parallel = tensor_parallel
        self.sleep = sleep and torch.cuda.is_available()
        self.seeded = seeded
        self.eager = eager
        self.dtype = dtype
        self.max_sequences = max_sequences
        self.max_logp_difference = max_logp_difference
        self._llm: Any = None
        self._group: EngineGroup
        self._dtype = self._trainer_dtype = "float32"
        self._only_dtype: torch.dtype | None = None
        self._stale = True
        self._asleep = False

    def check_weights(self, adapters: bool, sharded: bool) -> None:
        """Check the installed vLLM; it takes over weights of every kind."""
        check_interface()

    def generate(self, policy: nn.Module, request: RolloutRequest) -> Completions:
        """See :class:`RolloutEngine`."""
        # vLLM draws from torch's global generator, and computes in its own dtype, whatever the
        # trainer's autocast.
        self._trainer_dtype = trainer_dtype(policy, request.device)
        with isolate_rng(), torch.autocast(request.device.type, enabled=False):
            if self._llm is None:
                with phase("open vLLM", PATIENT):
                    self._group = EngineGroup(self.tensor_parallel, request.device)
                    together, rows = self._group.together(request)
                    llm = self._open(policy, request)
                    (self._only_dtype,) = llm.collective_rpc(only_dtype)
                    self._warm_up(llm, together)
                    self._llm = llm
            if self._stale:
                self._take_over(policy)
            together, rows = self._group.together(request)
            # Draws without their own seed come from the global generators, whose state must differ
            # between steps and be equal within a group.
            reset_seed(hash_seed(*(seed for group in together.seeds for seed in group)))
            return own_rows(self._completions(self._answers(self._llm, together), together), rows)

    def sync(self, policy: nn.Module) -> None:
        """Mark the copy as stale; it is updated before its next use."""
        self._stale = True

    def rest(self) -> None:
        """Free the memory until the next rollouts."""
        if self.sleep and self._llm is not None and not self._asleep:
            self._llm.sleep(level=2)  # drops the weights too, so they must be loaded again
            self._stale = self._asleep = True

    def check_repeats(self) -> None:
        """See :class:`RolloutEngine`."""
        if not self.seeded or os.environ.get(INVARIANT) != "1":
            raise UserError(
                "model.deterministic = true: VLLM draws the same rollouts every time only with "
                f"model.engine.seeded = true and {INVARIANT}=1 in the environment, on a GPU and a "
                "model that vLLM has such kernels for"
            )

    def logp_limit(self) -> float | None:
        """See :class:`RolloutEngine`."""
        if self.max_logp_difference is not None:
            return self.max_logp_difference
        return max(LIMITS[self._dtype], LIMITS[self._trainer_dtype])

    def _open(self, policy: Any, request: RolloutRequest) -> Any:
        quiet()
        check_interface()
        if self._group.one_node:
            stay_on_this_node()
        from vllm import LLM  # pyright: ignore[reportAttributeAccessIssue]

        logging.getLogger(RELOAD_LOGGER).addFilter(_is_not_rotary)
        parameter = next(policy.parameters())
        self._dtype = self.dtype or str(parameter.dtype).removeprefix("torch.")
        config = type(policy.config).from_dict(policy.config.to_dict())
        config.tie_word_embeddings = False
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            if request.stop_strings is not None:
                request.stop_strings.tokenizer.save_pretrained(folder)
            llm = LLM(
                folder,
                # Its own weights come from the policy, and prompts are token ids.
                load_format="dummy",
                # Only to see a text that ends a completion.
                skip_tokenizer_init=request.stop_strings is None,
                dtype=self._dtype,
                max_model_len=request.longest,
                max_num_seqs=self.max_sequences,
                gpu_memory_utilization=self.memory,
                tensor_parallel_size=self.tensor_parallel,
                distributed_executor_backend=(
                    "external_launcher" if self._group.distributed else None
                ),
                enforce_eager=self.eager,
                enable_prefix_caching=True,
                enable_sleep_mode=self.sleep,
                logprobs_mode="processed_logprobs",
                seed=0,
                **({} if torch.cuda.is_available() else self._on_cpu(config, request.longest)),
            )
        return llm

    def _on_cpu(self, config: Any, longest: int) -> dict[str, Any]:
        dtype = getattr(torch, self._dtype)
        a_token = token_bytes(config.get_text_config(), dtype, self.tensor_parallel)
        cache = cpu_cache_bytes(a_token, self.max_sequences, longest, self.memory)
        return cpu_arguments(longest, cache)

    def _warm_up(self, llm: Any, request: RolloutRequest) -> None:
        """Generate the first tokens, which take long, since kernels are compiled for them."""
        short = replace(request.sampling, max_new_tokens=1)
        first = replace(request, sampling=short, prompts=request.prompts[:1])
        self._answers(llm, replace(first, seeds=request.seeds[:1]))

    def _take_over(self, policy: nn.Module) -> None:
        """Wake, load, drop what was computed with the old weights: in this order, and only here."""
        if self._asleep:
            self._llm.wake_up(tags=["weights"])
        iterator = _beating(full_weights(policy, self._only_dtype))
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iterator})
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: are requests still running?")
        self._stale = self._asleep = False

    def _answers(self, llm: Any, request: RolloutRequest) -> list[Any]:
        """One finished output per prompt, each with its samples."""
        from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]
        from vllm.sampling_params import (  # pyright: ignore[reportMissingImports]
            RequestOutputKind,
        )

        engine, done, numbers = llm.llm_engine, {}, []
        for prompt, seeds in zip(request.prompts, request.seeds, strict=True):
            numbers.append(next(_REQUESTS))
            params = SamplingParams(
                **sampling_arguments(request),
                n=to_ask(request, len(seeds)),
                # vLLM counts up from here for the other samples; the seed is a hash: none repeats.
                seed=seeds[0] if self.seeded else None,
                output_kind=RequestOutputKind.FINAL_ONLY,
                flat_logprobs=True,  # lists of numbers instead of an object for each token
            )
            engine.add_request(str(numbers[-1]), {"prompt_token_ids": prompt}, params)
        try:
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        done[int(output.request_id)] = output
                beat()
        except BaseException:
            engine.abort_request([str(number) for number in numbers if number not in done])
            raise
        return [done[number] for number in numbers]

    def _completions(self, answers: list[Any], request: RolloutRequest) -> Completions:
        samples = []
        for answer, seeds in zip(answers, request.seeds, strict=True):
            group = sorted(answer.outputs, key=lambda sample: sample.index)
            try:
                samples += to_all(group, to_ask(request, len(seeds)), len(seeds))
            except ValueError as error:
                raise EnvironmentFailure(f"vLLM gave a question {error}") from error
        tokens, logps, finish = read_samples(samples)
        cut_at_text(request, tokens, logps, finish)
        return to_completions(tokens, logps, finish, request.device)


def reset_seed(seed: int) -> None:
    """Seed torch's, numpy's and Python's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def only_dtype(worker: Any) -> torch.dtype | None:
    """The dtype of all of a vLLM worker's weights; None if some are kept in another.

    Weights may then be rounded to it before they are handed over: the worker would do the same.
    """
    dtypes = {weight.dtype for weight in worker.get_model().parameters()}
    return dtypes.pop() if len(dtypes) == 1 else None


def _is_not_rotary(record: logging.LogRecord) -> bool:
    # Its table of sines is not a weight of the policy, and vLLM keeps the one it computed.
    return "RotaryEmbedding: Failed to load weights" not in record.getMessage()


def _beating(weights: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for named in weights:
        beat()
        yield named
