"""The plan as tables."""

from rich.console import Console, Group
from rich.table import Table

from .adapters import packs
from .advice import Advice
from .generation import ENGINE_RESIDUE, ENGINE_WORKSPACE
from .gpus import GIB
from .job import Job
from .memory import PROCESS_HOST, Memory
from .rows import largest
from .timing import Timing

MIB = 2**20


def gib(size: float) -> str:
    """Bytes in GiB; a dash for nothing."""
    return _amount(size, GIB)


def _amount(size: float, unit: int) -> str:
    return "-" if size == 0 else f"{size / unit:.2f}" if abs(size) >= 0.005 * unit else "<0.01"


def memory_table(memory: Memory, place: str) -> Table:
    """Kinds by phases, and what is left; in MiB for small runs."""
    name, unit = ("MiB", MIB) if max(memory.totals.values()) < 10 * GIB else ("GiB", GIB)
    made = Table(title=f"memory, {name} per {place}")
    made.add_column("")
    for phase in memory.phases:
        made.add_column(phase, justify="right")
    kinds = dict.fromkeys(kind for kinds in memory.phases.values() for kind in kinds)
    for kind in kinds:
        sizes = [kinds.get(kind, 0) for kinds in memory.phases.values()]
        if any(sizes):
            made.add_row(kind, *(_amount(size, unit) for size in sizes))
    made.add_section()
    made.add_row("total", *(_amount(size, unit) for size in memory.totals.values()))
    left = [memory.usable - total for total in memory.totals.values()]
    made.add_row(
        f"left of {_amount(memory.usable, unit)}",
        *(f"[{'green' if size >= 0 else 'red'}]{size / unit:.2f}" for size in left),
    )
    return made


def host_table(memory: Memory, nodes: int) -> Table:
    """The host's memory by kind."""
    made = Table(title=f"host memory, GiB per node ({nodes} in all)")
    made.add_column("")
    made.add_column("", justify="right")
    for kind, size in memory.host.items():
        made.add_row(kind, gib(size))
    made.add_section()
    made.add_row("at most, together", gib(sum(memory.host.values())))
    return made


def time_table(timing: Timing, steps: int | None) -> Table:
    """Seconds by phase, and hours of the run."""
    made = Table(title="time, estimated")
    made.add_column("")
    made.add_column("seconds per step", justify="right")
    made.add_column("share", justify="right")
    for phase, seconds in timing.seconds.items():
        made.add_row(phase, _seconds(seconds), f"{seconds / timing.step:.0%}")
    made.add_section()
    made.add_row("step", _seconds(timing.step), "")
    if steps is not None:
        made.add_row(f"{steps} steps", duration(steps * timing.step), "")
    return made


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.3f}"


def duration(seconds: float) -> str:
    """In hours, or in minutes under two of them."""
    return f"{seconds / 3600:.1f} h" if seconds >= 2 * 3600 else f"{seconds / 60:.1f} min"


def advice_table(advice: Advice, memory: Memory) -> Table:
    """Every change with the bytes still missing, with it alone and with all changes up to it."""
    made = Table(title="changes, cheapest first, each planned again (GiB missing, over all phases)")
    made.add_column("change", no_wrap=True)
    for column in ("alone", "after all so far"):
        made.add_column(column, justify="right")
    made.add_column("what it costs")
    made.add_row("as it is", gib(memory.shortage), gib(memory.shortage), "")
    for change in advice.changes:
        colour = "red" if change.together else "green"
        missing = f"[{colour}]{gib(change.together)}"
        made.add_row(change.flag, gib(change.alone), missing, change.cost)
    return made


def engine_lines(job: Job, memory: Memory) -> list[str]:
    """The capacity of the KV cache."""
    engine, gpus = memory.engine, f"{job.parallel} GPU{'s' if job.parallel > 1 else ''}"
    if job.engine.kind == "VLLMServer":
        return ["the rollout engine is a server on GPUs of its own, which are not planned"]
    lines = [
        f"KV cache: {engine.tokens:,} tokens per engine ({gpus}), {engine.token_bytes / 1024:.0f} "
        f"KiB per token and GPU: {engine.tokens // job.longest_asked:,} sequences of the longest "
        f"length, {job.longest_asked:,}; an engine gets {job.own_rollouts * job.parallel:,} "
        f"rollouts per step and decodes at most {engine.at_once:,} at once"
    ]
    if engine.missing:
        lines.append(
            f"vLLM would not start: model.engine.memory = {job.engine.memory} is a share of "
            f"{gib(memory.capacity * job.engine.memory)} GiB, and one sequence of "
            f"{job.longest_asked:,} tokens needs {gib(engine.missing)} GiB more"
        )
    return lines


def memory_assumptions(job: Job, memory: Memory) -> list[str]:
    """The assumptions behind the byte counts."""
    lines = [
        _prompts(job),
        _micro_batch(job),
        "gradients stay in memory until the next update, also during generation and scoring",
    ]
    if job.cpu:
        lines.append(f"{gib(memory.reserve)} GiB of each process for Python and its libraries")
    else:
        lines += [
            f"{gib(memory.reserve)} GiB of each GPU for the CUDA context, NCCL, cuBLAS and holes "
            "in the allocator",
            f"host: {gib(PROCESS_HOST)} GiB per process, and every process loads all weights",
        ]
    if job.vllm and not job.cpu:
        lines.append(
            f"vLLM: {gib(ENGINE_WORKSPACE)} GiB of its share are workspace, and asleep it keeps "
            f"{gib(ENGINE_RESIDUE)} GiB"
        )
    if job.engine.kind == "Native":
        lines.append("decoding by the policy itself: no row of a wave ends before the last token")
    if job.strategy == "fsdp2":
        lines.append("FSDP2: the size of what is gathered at once is an upper estimate")
    if memory.state.guessed:
        lines.append(
            f"{job.optimizer.class_path} cannot step without values: two fp32 copies of the "
            "weights are assumed for its state"
        )
    return lines


def _prompts(job: Job) -> str:
    if job.mean_prompt is None:
        return (
            f"prompts of up to {job.max_prompt:,} tokens, the limit: no questions were read, since "
            "they or the tokenizer are not quickly at hand"
        )
    return (
        f"prompts of {job.shortest_prompt:,} to {job.max_prompt:,} tokens, {job.mean_prompt:.0f} "
        "on average, read from the questions"
    )


def _micro_batch(job: Job) -> str:
    rows = largest(job)
    if not packs(job.config):
        return (
            f"the largest micro-batch: {rows.tokens:,} tokens, in rows padded to the longest, "
            "since this model's attention is not full in all layers; no prompt is shared"
        )
    if rows.shared is None:
        return (
            f"the largest micro-batch: {rows.tokens:,} tokens, sequences of {job.longest:,} "
            "tokens down to half of that, attention fused and bucket by bucket"
        )
    return (
        f"the largest micro-batch: {len(rows.shared.completions):,} rollouts, which share "
        f"{rows.shared.questions:,} prompts of {rows.shared.prompt:,} tokens, each counted once: "
        f"{rows.tokens:,} tokens"
    )


def show(console: Console, *parts: Table | str) -> None:
    """Print tables and paragraphs."""
    console.print(Group(*parts))
