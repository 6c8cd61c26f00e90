"""Bytes of generation on one GPU: vLLM's share, or the policy's own decoding."""

from dataclasses import dataclass

import torch

from ..rollout.vllm.cache_size import token_bytes
from .decoding import copied_weights, count_wave, wave_of
from .gpus import GIB
from .job import Job
from .shape import Shape, elements

# Assumptions, printed with every plan.
ENGINE_WORKSPACE = int(2.5 * GIB)  # activations of vLLM's profile run, logits of its sampler
PROCESS_CPU = 1 * GIB  # without a GPU: Python and its libraries, which are part of vLLM's share
ENGINE_RESIDUE = int(1.5 * GIB)  # CUDA graphs and buffers that a sleeping vLLM keeps


@dataclass(frozen=True)
class EngineBytes:
    """An engine's memory on one GPU.

    Attributes:
        weights: its own copy's share.
        cache: the KV cache.
        rest: vLLM's workspace; the policy's own decoding: everything else at its worst moment.
        asleep: what stays in use outside generation.
        missing: bytes that vLLM's share lacks for one sequence of full length; 0 if it fits.
        tokens: capacity of the KV cache, over the GPUs that share the engine.
        token_bytes: bytes of KV cache per token and GPU.
        at_once: sequences decoded at once, if the cache holds them.
    """

    weights: int = 0
    cache: int = 0
    rest: int = 0
    asleep: int = 0
    missing: int = 0
    tokens: int = 0
    token_bytes: int = 0
    at_once: int = 0


def engine_bytes(job: Job, shape: Shape, capacity: int) -> EngineBytes:
    """Count an engine's bytes on a GPU of ``capacity`` bytes."""
    if job.engine.kind == "VLLMServer":
        return EngineBytes()
    return _vllm_bytes(job, shape, capacity) if job.vllm else _native_bytes(job)


def _native_bytes(job: Job) -> EngineBytes:
    """The larger of training's and validation's."""
    waves = [wave_of(job, call) for call in job.calls]
    counted = [(count_wave(job.config, wave), wave) for wave in waves]
    worst, wave = max(counted, key=lambda pair: pair[0].peak)
    weights = copied_weights(job.config, wave)
    return EngineBytes(
        weights=weights,
        cache=worst.kept - weights,
        rest=worst.peak - worst.kept,
        tokens=wave.rows * wave.cached,
        token_bytes=(worst.kept - weights) // (wave.rows * wave.cached),
        at_once=waves[0].rows,
    )


def _vllm_bytes(job: Job, shape: Shape, capacity: int) -> EngineBytes:
    """VLLM always takes its whole share: the KV cache is what weights and workspace leave."""
    # The engine is opened untied, and each GPU holds its part of every matrix.
    count = shape.count + (elements((shape.head,)) if shape.tied else 0)
    weights = count * engine_dtype(job).itemsize // job.parallel
    token = token_bytes(job.config, engine_dtype(job), job.parallel)
    share = int(capacity * job.engine.memory) - (PROCESS_CPU if job.cpu else 0)
    workspace = 0 if job.cpu else ENGINE_WORKSPACE
    cache = max(0, share - weights - workspace)
    return EngineBytes(
        weights=weights,
        cache=cache,
        rest=workspace,
        asleep=ENGINE_RESIDUE if job.engine.sleep and not job.cpu else weights + cache + workspace,
        missing=max(0, weights + workspace + job.longest_asked * token - share),
        tokens=cache // token,
        token_bytes=token,
        at_once=min(job.engine.rows, job.own_rollouts * job.parallel),
    )


def engine_dtype(job: Job) -> torch.dtype:
    """The engine's compute dtype; vLLM also stores keys and values in it."""
    if not job.vllm:
        return job.compute
    return job.engine.dtype or job.dtype
