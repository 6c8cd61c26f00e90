"""``model.deterministic``: two runs with it must be equal bit for bit, and what it costs.

Ten steps of a small model, from the command line, each in a process of its own.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgexpo.robustness.checkpoint import read_checkpoint

from .command_line import PATIENCE, arguments, lacking, make_model, run, steps_of
from .report import Check, Finding, Note, Row
from .scale import Setting

STEPS = 10
LIMIT = 30.0  # seconds of a run
RUNS = {"with, once": True, "with, again": True, "without": False}
TABLE = "Seconds of a step of a small model, which samples by itself, and of its phases"


def deterministic(setting: Setting) -> Iterator[Finding]:
    """Train three times, and compare all that two of them have saved."""
    lacks = lacking()
    if lacks:
        yield Note(f"{', '.join(lacks)}: not installed here, so this was not run.")
        return
    ends: dict[str, dict[str, Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make_model(setting.size.small(), setting.device, scratch / "model")
        for name, on in RUNS.items():
            out = scratch / name.replace(", ", "-")
            options = _options(out, on)
            run(
                arguments(setting, scratch / "model", out, options),
                scratch,
                LIMIT * PATIENCE[setting.device],
            )
            ends[name] = _saved(out)
            rows = steps_of(out)[2:]
            step, update = (
                statistics.median(row[key] for row in rows) for key in ("step", "update")
            )
            cells = {"model.deterministic": name, "seconds of a step": f"{step:.3f}"}
            yield Row(TABLE, cells | {"of its updates": f"{update:.3f}"})
    one, two, other = ends.values()
    yield _equal("two runs of ten steps with model.deterministic", one, two)
    apart = sum(not torch.equal(one[name], other[name]) for name in one)
    yield Note(f"Without it, {apart} of {len(one)} saved tensors differ from those with it.")


def _options(out: Path, on: bool) -> dict[str, Any]:
    checkpoint = {"every_steps": STEPS, "every_minutes": None, "dirpath": str(out / "checkpoints")}
    return {
        "steps": STEPS,
        "model.engine": {"class_path": "Native"},
        "model.deterministic": on,
        "model.group_size": 4,
        "model.mini_batch_questions": 4,
        "model.micro_batch_tokens": 2048,
        "model.optimizer.init_args": {"lr": 1e-4, "weight_decay": 0.1, "fused": True},
        "model.sampling.max_new_tokens": 64,
        "model.evaluation.sampling.max_new_tokens": 64,
        "data.questions_per_step": 8,
        "checkpoint": {"class_path": "RolloutCheckpoint", "init_args": checkpoint},
        "trainer.strategy": "auto",
    }


def _saved(out: Path) -> dict[str, Tensor]:
    """Weights and moments at the end of a run, by name."""
    checkpoint = read_checkpoint(out / "checkpoints" / "last.ckpt")
    found = dict(checkpoint["state_dict"])
    for number, moments in checkpoint["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            if isinstance(value, Tensor):
                found[f"{name} of {number}"] = value
    return found


def _equal(what: str, one: dict[str, Tensor], two: dict[str, Tensor]) -> Check:
    differ = [name for name in one if not torch.equal(one[name], two[name])]
    found = f"{len(differ)} of {len(one)} weights and moments differ"
    return Check(what, found, "equal bit for bit", not differ and one.keys() == two.keys())
