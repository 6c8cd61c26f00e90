"""Ten steps of ``fgexpo fit`` at full shape on one GPU: seconds by phase, against the plan's.

Random weights seldom draw the token that ends a completion, so all are as long as they may be.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .command_line import PATIENCE, PHASES, arguments, complete, lacking, make_model, run, steps_of
from .engine import MEMORY, installed
from .flops import gpu_key
from .machine import device_name
from .planned import large
from .report import Check, Finding, Note, Row
from .scale import Fit, Setting

STEPS = 10
WARM = 2  # steps that are not counted: vLLM is opened and kernels are chosen in them
LIMIT = 110.0  # seconds; the section has more


def fit(setting: Setting) -> Iterator[Finding]:
    """Train, then read the run's own event file."""
    lacks = lacking()
    if lacks:
        yield Note(f"{', '.join(lacks)}: not installed here, so this was not run.")
        return
    size, vllm = setting.size.fit, installed() and setting.device == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make_model(setting.size.config(), setting.device, scratch / "model")
        micro_tokens = setting.size.micro_tokens[int(large(setting.device))]
        more = _options(size, micro_tokens, vllm)
        options = arguments(setting, scratch / "model", scratch / "runs", more)
        failure = ""
        try:
            run(options, scratch, LIMIT * PATIENCE[setting.device])
        except RuntimeError as error:
            failure = str(error)
        rows = steps_of(scratch / "runs")
        yield Note(_what(size, micro_tokens, vllm))
        for number, row in enumerate(rows, start=1):
            cells = {name: f"{value:.2f}" for name, value in row.items()}
            yield Row("Seconds of each step", {"number": str(number), **cells})
        found = f"{len(rows)} steps {failure}".strip()
        yield Check("steps trained", found, str(STEPS), len(rows) == STEPS and not failure)
        if len(rows) > WARM:
            plan = planned(options, size, device_name(setting.device))
            yield from _against(plan, rows[WARM:])


def _what(size: Fit, micro_tokens: int, vllm: bool) -> str:
    engine = "vLLM in the same process" if vllm else "the policy itself (no vLLM here)"
    return (
        f"{size.questions} questions x {size.group} rollouts of {size.new:,} tokens, updates of "
        f"{size.questions // 2} questions in micro-batches of {micro_tokens:,} tokens, generation "
        f"by {engine}; configs/r1_1p5b.yaml on one GPU by fsdp2. The plan is compared with medians "
        f"of the steps after the first {WARM}."
    )


def _options(size: Fit, micro_tokens: int, vllm: bool) -> dict[str, Any]:
    engine: dict[str, Any] = {"class_path": "Native"}
    if vllm:
        settings = {"memory": MEMORY["cuda"], "tensor_parallel": 1, "dtype": "bfloat16"}
        engine = {"class_path": "VLLM", "init_args": settings}
    optimizer = {"lr": 1e-6, "betas": [0.9, 0.999], "weight_decay": 0.1, "fused": True}
    return {
        "steps": STEPS,
        "model.engine": engine,
        "model.group_size": size.group,
        "model.mini_batch_questions": size.questions // 2,
        "model.micro_batch_tokens": micro_tokens,
        "model.activation_checkpointing": False,
        "model.optimizer.init_args": optimizer,
        "model.sampling.max_new_tokens": size.new,
        "model.evaluation.sampling.max_new_tokens": size.new,
        "data.questions_per_step": size.questions,
        "trainer.strategy": "fsdp2",
    }


def planned(options: list[str], size: Fit, name: str) -> dict[str, float]:
    """What ``fgexpo plan`` says of the same command: seconds by phase."""
    complete()
    from fgexpo.cli.plan import model_shape, parse_fit
    from fgexpo.plan.from_config import read_job
    from fgexpo.plan.gpus import gpu_named, memory_named
    from fgexpo.plan.memory import plan_memory
    from fgexpo.plan.timing import plan_timing

    config = parse_fit(options[1:])
    job = read_job(config, model_shape(config)[0], 1)
    gpu = gpu_named(gpu_key(name) or "h200")
    memory = plan_memory(job, memory_named(gpu))
    timing = plan_timing(job, memory.state, memory.engine, gpu, size.new)
    return timing.seconds


def _against(plan: dict[str, float], rows: list[dict[str, float]]) -> Iterator[Finding]:
    for name in (*PHASES, "other", "step"):
        measured = statistics.median(row[name] for row in rows)
        expected = sum(plan.values()) if name == "step" else plan[name]
        cells = {"phase": name, "seconds": f"{measured:.2f}", "planned": f"{expected:.2f}"}
        ratio = f"{measured / expected:.2f}" if expected else "-"
        yield Row("Seconds of a step by phase", cells | {"seconds / planned": ratio})
