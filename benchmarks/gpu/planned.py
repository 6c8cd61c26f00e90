"""The bytes that ``fgexpo plan`` counts for the same work, to compare with the measured peak.

The state is that of one process with AdamW and without a reference. The activations are those of
the largest micro-batch that is really run; ``plan`` itself assumes a full one of longest rows.
"""

from typing import Any

import torch

from fgexpo.plan.activations import Work, count
from fgexpo.plan.decoding import Wave, count_wave
from fgexpo.plan.gathered import gathered_to_run
from fgexpo.plan.job import Job, Optimizer
from fgexpo.plan.memory import RESERVE
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of
from fgexpo.update.batch import TrainingBatch

from .clock import GIB, Measured, gib
from .report import Check, below
from .scale import Decoding, Setting
from .work import cut_rollouts

# As in tests/plan/test_plan_measured.py, which tests the same on a CPU.
MEMORY_LIMIT = 0.15


def planned_pass(
    policy: Any,
    rollouts: TrainingBatch,
    micro_tokens: int,
    checkpointing: bool | None,
    half: bool = False,
    fused: bool = False,
) -> int:
    """Peak bytes of scoring or of an update, including weights.

    Args:
        policy: whose layers run.
        rollouts: of the mini-batch.
        micro_tokens: limit on a micro-batch.
        checkpointing: of an update's activations; None for scoring.
        half: the layers see bf16 weights, by fsdp2 on one GPU.
        fused: the optimizer's kind.
    """
    lengths_N = rollouts.sequences.lengths_N
    cuts = cut_rollouts(policy, rollouts, micro_tokens)
    largest = max(cuts, key=lambda rows: int(lengths_N[rows].sum()))
    cpu = lengths_N.device.type == "cpu"
    kind = Optimizer(arguments={"fused": True} if fused else {})
    strategy = "fsdp2" if half else "one process"
    job = Job(policy.config, cpu=cpu, autocast=True, strategy=strategy, optimizer=kind)
    update, shape = checkpointing is not None, shape_of(policy.config)
    work = Work(
        weights=job.seen,
        tokens=int(lengths_N[largest].sum()),
        longest=int(lengths_N[largest].max()),
        autocast=True,
        backward=update,
        entropy=True,
        checkpointing=bool(checkpointing),
        device=lengths_N.device.type,
    )
    state, peak = state_of(job, shape), count(policy.config, work).peak
    peak += gathered_to_run(job, shape, peak, update)
    if not update:
        return state.weights + peak
    return state.weights + state.gradients + state.optimizer + max(peak, state.step)


def planned_decoding(setting: Setting, decoding: Decoding, graphs: bool) -> int:
    """Peak bytes of generation by the policy, including weights."""
    config, group = setting.size.config(), setting.size.group
    weights = shape_of(config).count * torch.float32.itemsize
    wave = Wave(
        prompts=decoding.questions,
        group=group,
        prompt=decoding.prompt,
        new=decoding.new,
        filtered=False,
        weights=torch.float32,
        autocast=True,
        in_place=graphs and setting.device == "cuda",
    )
    return weights + count_wave(config, wave).peak


def large(device: str) -> bool:
    """Whether the device has more than a usual 80 GB; a CPU counts as such."""
    return device != "cuda" or torch.cuda.get_device_properties(0).total_memory > 100 * GIB


def usual(policy: Any, rollouts: TrainingBatch, setting: Setting) -> int:
    """Which of the micro-batches' sizes is taken: the second if the plan says that it fits."""
    planned = planned_pass(policy, rollouts, setting.size.micro_tokens[1], False)
    if setting.device != "cuda":
        return 1
    return int(planned < torch.cuda.get_device_properties(0).total_memory - RESERVE)


def memory_cells(measured: Measured | None, planned: int) -> dict[str, str]:
    """For a table."""
    peak = None if measured is None else measured.peak
    ratio = "-" if peak is None else f"{peak / planned:.2f}"
    return {"peak GiB": gib(peak), "planned GiB": gib(planned), "peak / planned": ratio}


def memory_check(what: str, measured: Measured | None, planned: int, device: str) -> list[Check]:
    """Whether the plan was right; nothing on a CPU, where peaks are not measured."""
    if device != "cuda":
        return []
    if measured is None:
        capacity = torch.cuda.get_device_properties(0).total_memory
        limit = f"the plan says {gib(planned)} GiB, which must be more than {gib(capacity)} GiB"
        limit += f" less the {gib(RESERVE)} GiB that it holds back"
        return [Check(what, "out of memory", limit, planned > capacity - RESERVE)]
    assert measured.peak is not None
    wrong = abs(measured.peak / planned - 1)
    return [below(f"{what}: plan's error", wrong, MEMORY_LIMIT, "what the plan is tested to")]
