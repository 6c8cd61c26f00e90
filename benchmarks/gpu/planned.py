"""The bytes that ``fgexpo plan`` counts for the same work, to compare with the measured peak.

The state is that of one process with AdamW and without a reference. The activations are those of
the largest micro-batch that is really run; ``plan`` itself assumes a full one of longest rows.
"""

from typing import Any

import torch

from fgexpo.plan.activations import Work, count
from fgexpo.plan.decoding import Wave, count_wave
from fgexpo.plan.job import Job
from fgexpo.plan.memory import RESERVE
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of
from fgexpo.update.batch import TrainingBatch

from .clock import Measured, gib
from .report import Check, below
from .scale import Decoding, Setting
from .work import cut_rollouts

# As in tests/plan/test_plan_measured.py, which tests the same on a CPU.
MEMORY_LIMIT = 0.15


def planned_pass(
    policy: Any, rollouts: TrainingBatch, micro_tokens: int, checkpointing: bool | None
) -> int:
    """Peak bytes of scoring (``checkpointing`` None) or of an update, including weights."""
    lengths_N = rollouts.sequences.lengths_N
    cuts = cut_rollouts(policy, rollouts, micro_tokens)
    largest = max(cuts, key=lambda rows: int(lengths_N[rows].sum()))
    work = Work(
        tokens=int(lengths_N[largest].sum()),
        longest=int(lengths_N[largest].max()),
        autocast=True,
        backward=checkpointing is not None,
        entropy=True,
        checkpointing=bool(checkpointing),
        device=lengths_N.device.type,
    )
    cpu = work.device == "cpu"
    state = state_of(Job(policy.config, cpu=cpu, autocast=True), shape_of(policy.config))
    peak = count(policy.config, work).peak
    if checkpointing is None:
        return state.weights + peak
    return state.weights + state.gradients + state.optimizer + max(peak, state.step)


def planned_decoding(setting: Setting, decoding: Decoding) -> int:
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
        in_place=setting.device == "cuda",
    )
    return weights + count_wave(config, wave).peak


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
