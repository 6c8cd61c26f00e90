"""``python -m fgexpo plan --config X``: will it fit, how long will it take, what to change."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..outside.parser import PlainParser


@dataclass(frozen=True)
class Request:
    """The plan's own options; null means that the GPU's name decides."""

    gpus: int | None
    gpu: str
    gpu_memory: float | None
    mean_length: float | None


def main(arguments: list[str]) -> None:
    """Parse, plan and print; the exit status is 1 if the run does not fit.

    Raises:
        SystemExit: with 1 when it does not fit.
        UserError: for settings that cannot be planned.
    """
    from ..plan.from_config import check_classes, read_job
    from ..plan.prompts import read_prompts

    request, rest = read_request(arguments)
    config = parse_fit(rest)
    check_classes(config)
    shape, source = model_shape(config)
    job = read_job(config, shape, request.gpus)
    prompts = read_prompts(config)
    job = job if prompts is None else prompts.put_into(job)
    if not report(job, request, config.model.init_args.name, source):
        raise SystemExit(1)


def read_request(arguments: list[str]) -> tuple[Request, list[str]]:
    """Split the arguments into the plan's own options and those of ``fit``.

    Raises:
        UserError: for a number that is not positive.
    """
    parser = PlainParser(
        prog="fgexpo plan",
        allow_abbrev=False,
        description="Predict a run's memory and time before it. Takes all options of `fit`.",
    )
    parser.add_argument("--gpus", type=int, help="in total; default trainer.devices, else 8")
    parser.add_argument("--gpu", default="h100", help="GPU whose data sheet the time is based on")
    parser.add_argument(
        "--gpu-memory",
        type=float,
        help="GiB per GPU (on a CPU per process); default: what is there",
    )
    parser.add_argument("--mean-length", type=float, help="mean tokens per completion")
    own, rest = parser.parse_known_args(arguments)
    for name in ("gpus", "gpu_memory", "mean_length"):
        value = getattr(own, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be positive, got {value}")
    return Request(own.gpus, own.gpu, own.gpu_memory, own.mean_length), rest


def parse_fit(arguments: list[str]) -> Any:
    """The configuration that ``fit`` would use; nothing is instantiated."""
    from .fit import FGExpoCLI

    class ParseOnly(FGExpoCLI):
        def before_instantiate_classes(self) -> None:
            pass

        def instantiate_classes(self) -> None:
            pass

        def _run_subcommand(self, subcommand: str) -> None:
            pass

        def _set_seed(self) -> None:
            pass

    return ParseOnly(["fit", *arguments]).config.fit


def model_shape(config: Any) -> tuple[Any, str]:
    """The model's configuration and its source: a folder, the hub, or its recipe."""
    from ..catalogue.shipped import find_config as find_recipe
    from ..plan.known_models import find_config
    from ..tasks.tiny_model import TinyQwen2

    name, recipe = config.model.init_args.name, config.get("prepare")
    recipe = find_recipe(recipe) if recipe else None
    if recipe and not Path(name).exists() and Path(recipe).is_file():
        model = parse_fit(["--config", recipe]).model.init_args
        scratch = model.get("from_scratch")
        if scratch is not None:
            settings = scratch if isinstance(scratch, dict) else scratch.as_dict()
            return TinyQwen2(**settings).model().config, recipe
        name = model.get("name") or name
    return find_config(name)


def report(job: Any, request: Request, name: str, source: str) -> bool:
    """Print the plan; return whether the run fits."""
    from rich.console import Console
    from rich.markup import escape

    from ..plan import tables
    from ..plan.gpus import gpu_named, memory_named
    from ..plan.memory import plan_memory
    from ..plan.shape import shape_of

    gpu = gpu_named(request.gpu)
    capacity = memory_named(gpu)
    if job.cpu:  # a node's processes share its memory
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        capacity = whole * job.nodes // job.processes
    if request.gpu_memory is not None:
        capacity = int(request.gpu_memory * 2**30)
    memory = plan_memory(job, capacity)
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    place = "process on a CPU" if job.cpu else "GPU"
    console.print(
        f"{escape(name)}: {shape_of(job.config).count:,} parameters (shape: {escape(source)})\n"
        f"{job.processes} x {place if job.cpu else request.gpu} of {tables.gib(capacity)} GiB, "
        f"{job.strategy}, weights {job.dtype}, computes in {job.compute}"
    )
    tables.show(console, tables.memory_table(memory, place), *tables.engine_lines(job, memory))
    if memory.host:
        tables.show(console, tables.host_table(memory, job.nodes))
    lines = tables.memory_assumptions(job, memory)
    timing, said = estimate(job, memory, request)
    console.print(tables.time_table(timing, job.steps))
    lines += said
    if job.cpu:
        lines.append("trainer.accelerator is cpu, so --gpus and --gpu are not used")
    console.print("assumed:", *(f"\n- {line}" for line in lines), sep="")
    if memory.fits:
        console.print(f"it fits: {tables.gib(memory.spare)} GiB are left at the peak")
    else:
        recommend(console, job, memory, request)
    return memory.fits


def estimate(job: Any, memory: Any, request: Request) -> tuple[Any, list[str]]:
    """Seconds of a step and what they rest on: a data sheet, or on a CPU a measurement."""
    from ..plan.gpus import gpu_named
    from ..plan.timing import assumptions, plan_timing

    given = request.mean_length is not None
    if not job.cpu:
        gpu = gpu_named(request.gpu)
        timing = plan_timing(job, memory.state, memory.engine, gpu, request.mean_length)
        return timing, assumptions(job, timing, request.gpu, gpu, given)
    from ..plan.cpu_rates import measure
    from ..plan.cpu_timing import cpu_assumptions, cpu_timing, mean_lengths

    lengths = mean_lengths(job, request.mean_length)
    at_once = min(memory.engine.at_once, job.own_rollouts) if job.engine.kind == "Native" else 0
    rates = measure(job, lengths, at_once)
    timing = cpu_timing(job, memory.state, rates, at_once, lengths)
    return timing, cpu_assumptions(job, timing, rates, given)


def recommend(console: Any, job: Any, memory: Any, request: Request) -> None:
    """Print the changes that would make it fit."""
    from ..plan import tables
    from ..plan.advice import advise

    advice = advise(job, memory.capacity)
    short = {
        phase: total - memory.usable
        for phase, total in memory.totals.items()
        if total > memory.usable
    }
    if memory.engine.missing:
        short["vLLM's share"] = memory.engine.missing
    named = ", ".join(f"{tables.gib(size)} in '{phase}'" for phase, size in short.items())
    console.print(f"it does not fit; missing GiB: {named}")
    console.print(tables.advice_table(advice, memory))
    if advice.job is None or advice.memory is None:
        more = "a machine with more memory" if job.cpu else "more or larger GPUs"
        console.print(f"even with all of these changes it does not fit: use {more}")
        return
    console.print(
        f"the fewest changes that fit, with {tables.gib(advice.memory.spare)} GiB left:",
        *(f"\n  {flag}" for flag in advice.flags),
        sep="",
    )
    timing, _ = estimate(advice.job, advice.memory, request)
    console.print(f"a step then takes {timing.step:.0f} s")
