"""What to change when a run does not fit: every change is planned, never guessed."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..model.lora import LoRA
from .adapters import Adapters
from .generation import engine_dtype
from .job import Job
from .memory import Memory, plan_memory

# Applies a change, or returns None if there is nothing to change.
Rule = Callable[[Job], tuple[Job, str] | None]


@dataclass(frozen=True)
class Change:
    """One setting's change.

    Attributes:
        flag: its form on the command line.
        cost: its disadvantage.
        alone: missing bytes, over all phases, with only this change.
        together: missing bytes with all changes up to this one.
    """

    flag: str
    cost: str
    alone: int
    together: int


@dataclass(frozen=True)
class Advice:
    """Changes in order of cost, and the fewest of them that fit; none if even all do not."""

    changes: list[Change]
    flags: list[str]
    job: Job | None
    memory: Memory | None


def advise(job: Job, capacity: int) -> Advice:
    """Try the changes one after another until the job fits, then drop those not needed.

    Args:
        job: a job that does not fit.
        capacity: bytes of the GPU.
    """
    changes: list[Change] = []
    used: list[Rule] = []
    current, before = job, plan_memory(job, capacity)
    for rule, cost in rules():
        changed = rule(current)
        if changed is None:
            continue
        after = plan_memory(changed[0], capacity)
        starved = after.engine.missing > before.engine.missing
        if starved or after.shortage >= before.shortage:
            continue
        by_itself = rule(job) or (job, "")
        alone = plan_memory(by_itself[0], capacity).shortage
        changes.append(Change(changed[1], cost, alone, after.shortage))
        used.append(rule)
        current, before = changed[0], after
        if after.fits:
            return _fewest(job, capacity, changes, used)
    return Advice(changes, [], None, None)


def _fewest(job: Job, capacity: int, changes: list[Change], used: list[Rule]) -> Advice:
    """Drop every change that the others can do without, the most costly first."""
    kept = list(used)
    for place in reversed(range(len(used))):
        fewer = kept[:place] + kept[place + 1 :]
        if plan_memory(_apply(job, fewer)[0], capacity).fits:
            kept = fewer
    final, flags = _apply(job, kept)
    return Advice(changes, flags, final, plan_memory(final, capacity))


def _apply(job: Job, used: list[Rule]) -> tuple[Job, list[str]]:
    flags = {}  # of several changes of one setting, the last one counts
    for rule in used:
        changed = rule(job)
        if changed is not None:
            job = changed[0]
            flags[changed[1].partition("=")[0]] = changed[1]
    return job, list(flags.values())


def rules() -> Iterator[tuple[Rule, str]]:
    """Changes and their costs, cheapest first."""
    smaller = "smaller matrix products; the gradient stays the same"
    fewer = "fewer sequences decoded at once"
    yield _sleep, "seconds per step to wake and sleep"
    yield _engine_half, "the engine's log-probs round: keep model.loss.correction on"
    yield _offload, "the reference crosses to the GPU and back once a step"
    yield _checkpointing, "a third more arithmetic in updates"
    yield from 2 * [(_half_tokens, smaller)]
    yield _shard, "weights gathered for every pass; needs a fast link between the GPUs"
    yield from 4 * [(_half_tokens, smaller)]
    yield from 4 * [(_less_engine, fewer)]
    yield from 8 * [(_half_rows, fewer)]
    yield from 4 * [(_more_engine, "less memory for everything else")]
    yield _adapters, "another method: only adapters are trained; needs another learning rate"


def _sleep(job: Job) -> tuple[Job, str] | None:
    if not job.vllm or job.engine.sleep or job.cpu:
        return None
    return job.change(engine=replace(job.engine, sleep=True)), "--model.engine.sleep=true"


def _engine_half(job: Job) -> tuple[Job, str] | None:
    if not job.vllm or not job.autocast or engine_dtype(job).itemsize < 4:
        return None
    half = replace(job.engine, dtype=torch.bfloat16)
    return job.change(engine=half), "--model.engine.dtype=bfloat16"


def _offload(job: Job) -> tuple[Job, str] | None:
    if job.offload or job.cpu or not job.reference or job.adapters is not None:
        return None
    return job.change(offload=True), "--model.reference_offload=true"


def _checkpointing(job: Job) -> tuple[Job, str] | None:
    if job.checkpointing:
        return None
    return job.change(checkpointing=True), "--model.activation_checkpointing=true"


def _half_tokens(job: Job) -> tuple[Job, str] | None:
    half = max(job.micro_tokens // 2, job.longest)
    if half >= job.micro_tokens:
        return None
    return job.change(micro_batch_tokens=half), f"--model.micro_batch_tokens={half}"


def _shard(job: Job) -> tuple[Job, str] | None:
    if job.strategy != "ddp":
        return None
    return job.change(strategy="fsdp2"), "--trainer.strategy=fsdp2"


def _less_engine(job: Job) -> tuple[Job, str] | None:
    return _engine_memory(job, -0.1)


def _more_engine(job: Job) -> tuple[Job, str] | None:
    return _engine_memory(job, 0.1)


def _engine_memory(job: Job, by: float) -> tuple[Job, str] | None:
    memory = round(job.engine.memory + by, 2)
    if not job.vllm or not 0.1 <= memory <= 0.9:
        return None
    changed = job.change(engine=replace(job.engine, memory=memory))
    return changed, f"--model.engine.memory={memory}"


def _half_rows(job: Job) -> tuple[Job, str] | None:
    rows = min(job.engine.rows, max(call.questions * call.group for call in job.calls)) // 2
    if job.engine.kind != "Native" or rows < min(call.group for call in job.calls):
        return None
    changed = job.change(engine=replace(job.engine, rows=rows))
    return changed, f"--model.engine.max_rows={rows}"


def _adapters(job: Job) -> tuple[Job, str] | None:
    if job.adapters is not None or importlib.util.find_spec("peft") is None:
        return None
    flag = f"--model.lora.rank={LoRA().rank}"
    if job.offload:  # with adapters there is nothing to offload
        flag += " --model.reference_offload=false"
    return job.change(adapters=Adapters(LoRA().rank), offload=False), flag
