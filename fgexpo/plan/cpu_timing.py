"""Seconds of a step on a CPU, from rates measured on this machine: :mod:`.cpu_rates` measures them.

Python and the memory decide there as much as arithmetic does, and no data sheet knows them.
"""

from dataclasses import dataclass
from math import ceil

from .job import Job
from .passes import scorings
from .rows import Shared
from .shape import elements, shape_of
from .state import State
from .timing import COMPLETION_SHARE, PROMPT_SHARE, Timing


@dataclass(frozen=True)
class CpuRates:
    """What this machine does a second, with the model's own shapes and the run's threads.

    Attributes:
        threads: of one process.
        forward: seconds per token and decoder layer, without gradient.
        update: the same forward and backward.
        head: seconds per token of log-probs and entropies.
        head_update: the same forward and backward.
        step: seconds per decoded token of a wave, however many its rows: mostly reading weights
            and calling operations.
        row: seconds on top of that for each of its rows.
        parameter: seconds per trained parameter of clipping and an optimizer step.
    """

    threads: int
    forward: float
    update: float
    head: float
    head_update: float
    step: float
    row: float
    parameter: float


@dataclass(frozen=True)
class Usual:
    """A usual micro-batch, of mean lengths.

    Attributes:
        rows: with their prompts.
        tokens: that reach the layers.
        number: of such micro-batches in an optimizer step.
    """

    rows: Shared
    tokens: int
    number: int


def mean_lengths(job: Job, mean_length: float | None) -> tuple[float, float]:
    """Mean tokens of a prompt and of a completion."""
    prompt = PROMPT_SHARE * job.max_prompt if job.mean_prompt is None else job.mean_prompt
    return prompt, COMPLETION_SHARE * job.max_new if mean_length is None else mean_length


def usual_rows(job: Job, prompt: float, completion: float) -> Usual:
    """The micro-batches of an optimizer step, were all prompts and completions of mean length."""
    rows, length = job.mini_rows, prompt + completion
    number = max(1, ceil(rows * length / max(job.micro_batch_tokens, length)))
    each = ceil(rows / number)
    shared = Shared(
        min(job.mini_questions, each),
        max(1, round(prompt)),
        (max(1, round(completion)),) * each,
    )
    tokens = shared.computed if shared.pays() else shared.tokens
    return Usual(shared, tokens, number)


def cpu_timing(
    job: Job, state: State, rates: CpuRates, at_once: int, lengths: tuple[float, float]
) -> Timing:
    """Estimate a step.

    Args:
        job: the run.
        state: whose gradients are those of the trained parameters.
        rates: of this machine.
        at_once: rollouts decoded at once by the policy; 0 for other engines, whose time is unknown.
        lengths: mean tokens of a prompt and of a completion.
    """
    prompt, completion = lengths
    usual, layers = usual_rows(job, *lengths), job.config.num_hidden_layers
    updates = job.inner_epochs * job.questions // job.mini_batch
    passes = usual.number * job.questions // job.mini_batch
    answered = sum(usual.rows.completions)
    score = layers * usual.tokens * rates.forward + answered * rates.head
    update = layers * usual.tokens * rates.update + answered * rates.head_update
    if job.checkpointing:
        update += layers * usual.tokens * rates.forward
    trained = state.gradients // job.dtype.itemsize
    seconds = {
        "generate": decoding(job, rates, at_once, lengths),
        "score": scorings(job) * passes * score,
        "update": job.inner_epochs * passes * update + updates * trained * rates.parameter,
    }
    return Timing(seconds, prompt, completion, at_once)


def decoding(job: Job, rates: CpuRates, at_once: int, lengths: tuple[float, float]) -> float:
    """Seconds of a step's rollouts by the policy itself.

    The prompts' own forward pass gives the first token. The longest row of a wave goes on to
    ``max_new_tokens``; others leave when they have ended.
    """
    if not at_once:
        return 0.0
    prompt, completion = lengths
    waves = ceil(job.own_rollouts / at_once)
    layers = job.config.num_hidden_layers
    reading = job.own_rollouts / job.group * prompt * layers * rates.forward
    steps = waves * (job.max_new - 1) * rates.step
    return reading + steps + job.own_rollouts * max(0.0, completion - 1) * rates.row


def cpu_assumptions(job: Job, timing: Timing, rates: CpuRates, given: bool) -> list[str]:
    """The assumptions behind the estimate."""
    whence = "given" if given else f"assumed, {COMPLETION_SHARE:.0%} of max_new_tokens"
    known = f"assumed, {PROMPT_SHARE:.0%} of max_prompt_tokens"
    known = known if job.mean_prompt is None else "read from the questions"
    head = elements((shape_of(job.config).head,))
    threads = f"{rates.threads} thread{'s' if rates.threads > 1 else ''}"
    return [
        f"mean completion {timing.completion:.0f} tokens ({whence}; --mean-length sets it), mean "
        f"prompt {timing.prompt:.0f} ({known})",
        f"time: measured for about two seconds on this machine with {threads} a process, which "
        "whatever else it does now slows down: "
        f"{_rate(job, rates.forward):.0f} GFLOP/s scoring, {3 * _rate(job, rates.update):.0f} "
        f"updating, {2 * head / rates.head / 1e9:.0f} in the LM head; a decoded token takes "
        f"{rates.step * 1e3:.1f} ms and {rates.row * 1e3:.2f} ms for each row",
        "the longest row of a wave reaches max_new_tokens"
        if timing.at_once
        else "generate: the time of an engine other than Native is not estimated on a CPU",
        "no time is counted for grading, evaluation, checkpoints, start-up and what processes wait "
        "for each other",
    ]


def _rate(job: Job, seconds: float) -> float:
    """GFLOP/s of a forward pass through the layers."""
    return 2 * shape_of(job.config).matrices / job.config.num_hidden_layers / seconds / 1e9
