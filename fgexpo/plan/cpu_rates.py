"""Measures for two seconds what this machine does a second: a few of the model's layers, run.

Whatever a step runs is run here too, with random weights: packed rows that share prompts, the LM
head in slices, decoding with a cache, drawing tokens, the optimizer.
"""

import os
import time
from collections.abc import Callable
from math import prod
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ..model.lm_head import head_logprobs
from ..model.packing import enable_packing, is_packed, packed_hidden
from ..rollout import Sampling
from ..rollout.draw_token import sample_tokens
from ..rollout.native_cache import roomy_cache
from ..rollout.native_rows import forward
from .cpu_timing import CpuRates, usual_rows
from .job import Job
from .rows import Shared
from .shape import Shape, from_text, shape_of, to_text
from .state import optimizer_class

SECONDS = 0.25  # of each of eight measurements, beside what one call of each takes to warm up
PRODUCTS = 2e9  # multiplications of a measured pass: larger ones are no faster
WEIGHTS = 2**24  # parameters of the measured part of the LM head
CACHED = 2**26  # of the decoded layers at most; as many as fit, for caches hold few
VOCABULARY = 64  # of the measured layers, whose embedding is not what is measured


def measure(job: Job, lengths: tuple[float, float], at_once: int) -> CpuRates:
    """Measure on this machine, with the threads that one process of the run has.

    Args:
        job: the run.
        lengths: mean tokens of a prompt and of a completion.
        at_once: rollouts decoded at once by the policy; 0 where something else decodes.
    """
    before, threads = torch.get_num_threads(), threads_of(job)
    state = torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=job.autocast, cache_enabled=False):
            return _measure(job, lengths, at_once, threads)
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


def threads_of(job: Job) -> int:
    """Threads of a process: those of this one, of which Lightning gives several each a share."""
    if job.processes // job.nodes == 1 or "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    return max(1, (os.cpu_count() or 1) * job.nodes // job.processes)


def _measure(job: Job, lengths: tuple[float, float], at_once: int, threads: int) -> CpuRates:
    shape, layers = shape_of(job.config), job.config.num_hidden_layers
    each, usual = shape.matrices / layers, usual_rows(job, *lengths)
    depth = _between(1, int(PRODUCTS / (each * usual.tokens)), min(layers, 4))
    model = _model(job, depth)
    rows = _fewer(usual.rows, PRODUCTS / (each * depth * usual.tokens))
    work = rows.computed if rows.pays() else rows.tokens  # as the usual rows are counted
    run = _pass_through(model.get_decoder(), rows)
    model.eval()
    forward_s = _seconds(lambda: run(False)) / (depth * work)
    model.train()
    update_s = _seconds(lambda: run(True)) / (depth * work)
    head = _part_of_head(job, shape)
    scale = shape.head[0] / len(head.weight)
    answered = min(sum(rows.completions), int(PRODUCTS / prod(head.weight.shape)))
    head_s = _seconds(lambda: _through_head(head, job, answered, False))
    head_update_s = _seconds(lambda: _through_head(head, job, answered, True))
    step_s = row_s = 0.0
    if at_once:
        few = max(1, at_once // 8)
        deep = min(PRODUCTS / (each * at_once), CACHED / each)
        decoded = _model(job, _between(1, int(deep), layers)).eval()
        one, all_ = (_token(job, decoded, head, shape, count, lengths) for count in (few, at_once))
        row_s = max(0.0, (all_ - one) / max(1, at_once - few))
        step_s = max(0.0, one - few * row_s)
    return CpuRates(
        threads,
        forward_s,
        update_s,
        scale / answered * head_s,
        scale / answered * head_update_s,
        step_s,
        row_s,
        _optimizer(job, model),
    )


def _model(job: Job, depth: int) -> Any:
    """A few layers with random weights and hardly any vocabulary."""
    config = from_text(to_text(job.config), depth)
    config.vocab_size = VOCABULARY
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    with torch.random.fork_rng():
        model: Any = AutoModelForCausalLM.from_config(config, dtype=job.seen)
    enable_packing(model)
    return model


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))


def _fewer(rows: Shared, share: float) -> Shared:
    """About this share of the rows and their prompts, at most all and at least one."""
    count, questions = (
        _between(1, round(share * whole), whole)
        for whole in (len(rows.completions), rows.questions)
    )
    return Shared(questions, rows.prompt, rows.completions[:count])


def _pass_through(decoder: Any, rows: Shared) -> Callable[[bool], None]:
    """A function that runs the layers forward, and backward if it is asked to."""
    sequences = rows.sequences()
    packed = rows.laid_out() if is_packed(decoder) else None

    def hidden() -> Tensor:
        if packed is None:
            return decoder(input_ids=sequences.tokens_NL, use_cache=False).last_hidden_state
        packed.segments.calls = 0
        return packed_hidden(decoder, packed)

    def run(backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            found = hidden()
            if backward:
                found.sum().backward()

    return run


def _part_of_head(job: Job, shape: Shape) -> nn.Linear:
    """A part of the vocabulary where the whole would take long to make."""
    vocabulary, width = shape.head
    return nn.Linear(
        width, min(vocabulary, max(VOCABULARY, WEIGHTS // width)), bias=False, dtype=job.seen
    )


def _through_head(head: nn.Linear, job: Job, tokens: int, backward: bool) -> None:
    hidden_MH = torch.ones(tokens, head.in_features, dtype=job.compute, requires_grad=backward)
    with torch.set_grad_enabled(backward):
        target_M = torch.zeros(tokens, dtype=torch.int64)
        logp_M, _ = head_logprobs(head, hidden_MH, target_M, entropy=True)
        if backward:
            logp_M.sum().backward()


def _token(
    job: Job, model: Any, head: nn.Linear, shape: Shape, rows: int, lengths: tuple[float, float]
) -> float:
    """Seconds of decoding one token of so many rows, by all layers and the whole LM head."""
    length = max(1, round(lengths[0] + lengths[1] / 2))
    mask_NL = torch.ones(rows, length, dtype=torch.int64)
    cache = roomy_cache(model.config)
    uniform_N = torch.full((rows,), 0.5, dtype=torch.float64)
    sampling = Sampling(top_p=0.5 if job.filtered else 1.0)
    with torch.no_grad():
        forward(model, torch.zeros_like(mask_NL), mask_NL, cache)
        grown_NL = mask_NL

        def decode() -> None:
            nonlocal grown_NL
            grown_NL = torch.cat([grown_NL, mask_NL[:, :1]], 1)
            forward(model, mask_NL[:, :1], grown_NL, cache)

        def draw() -> None:
            logits_NV = head(torch.ones(rows, head.in_features, dtype=job.seen))
            sample_tokens(logits_NV.float(), uniform_N, sampling)

        layers = job.config.num_hidden_layers / model.config.num_hidden_layers
        vocabulary = shape.head[0] / len(head.weight)
        return layers * _seconds(decode) + vocabulary * _seconds(draw)


def _optimizer(job: Job, model: Any) -> float:
    """Seconds per parameter of clipping and a step, after the first, which makes the state."""
    trained = [weight for weight in model.parameters() if weight.grad is not None]
    optimizer = optimizer_class(job.optimizer.class_path)(trained, **job.optimizer.arguments)

    def step() -> None:
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return _seconds(step) / sum(weight.numel() for weight in trained)


def _seconds(call: Callable[[], None]) -> float:
    """The median over a quarter of a second, after one call to warm up; at least two calls."""
    call()
    took: list[float] = []
    while sum(took) < SECONDS or len(took) < 2:
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return median(took)
