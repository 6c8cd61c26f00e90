"""``fgexpo fit`` as a user starts it, in a process of its own, on a random model from a folder."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

import fgexpo
from fgexpo.tasks.tiny_model import TinyQwen2

from .clock import tidy
from .scale import Setting

ROOT = Path(__file__).parents[2]
NEEDED = ("jsonargparse", "math_verify", "tensorboard", "torchmetrics")
CONFIG = ROOT / "configs" / "r1_1p5b.yaml"
# The pool's 1,680 sums, each of at most so many characters and so tokens.
POOL = {"class_path": "TinyArithmetic", "init_args": {"split": "pool", "per_cell": 70}}
PROMPT = 64
PHASES = ("generate", "score", "update")
# Seconds of a run, times as many on a CPU, which may be slow and busy.
PATIENCE = {"cuda": 1, "cpu": 10}
ENDING = 15.0  # seconds that it may take to end when it is asked to


def lacking() -> list[str]:
    """Packages that the command line needs and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def complete() -> None:
    """Let this process import the package's parts that only an installation puts in their place."""
    if importlib.util.find_spec("fgexpo.callbacks") is None:
        fgexpo.__path__.append(str(ROOT))


def make_model(config: Any, device: str, folder: Path) -> None:
    """A model with random weights, and a tokenizer of fewer words, which skips all others."""
    tokenizer = TinyQwen2().tokenizer()
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    tidy(device)  # the run has the device for itself


def arguments(setting: Setting, model: Path, runs: Path, more: dict[str, Any]) -> list[str]:
    """Options of ``fit``: the full-size configuration on one device, on sums.

    Args:
        setting: whose device.
        model: folder of :func:`make_model`.
        runs: folder for what it logs.
        more: further options, by name.
    """
    given = {
        "model.name": str(model),
        "model.template": "Plain",
        "model.max_prompt_tokens": PROMPT,
        "data.train": POOL,
        "data.val": None,
        "checkpoint": None,
        "trainer.accelerator": "gpu" if setting.device == "cuda" else "cpu",
        "trainer.devices": 1,
        "trainer.logger.save_dir": str(runs),
        **more,
    }
    flags = [f"--{key}={_text(value)}" for key, value in given.items()]
    return ["fit", f"--config={CONFIG}", *flags]


def run(arguments: list[str], scratch: Path, limit: float) -> None:
    """Run the command to its end.

    Args:
        arguments: of ``fgexpo``.
        scratch: its current folder, where a package that is not installed lacks no parts.
        limit: seconds after which it is asked to end, so that what it has logged is written.

    Raises:
        RuntimeError: with the last line that it printed, if it failed or took longer.
    """
    environment = {"NCCL_SOCKET_IFNAME": "lo", **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([str(_package(scratch)), *filter(None, sys.path)])
    with (scratch / "log").open("w") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "fgexpo", *arguments],
            cwd=scratch,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            status: int | str = started.wait(limit)
        except subprocess.TimeoutExpired:
            status = f"nothing yet after {limit:.0f} s"
            started.terminate()
            try:
                started.wait(ENDING)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
    said = (scratch / "log").read_text()
    print(said, flush=True)
    if status != 0:
        lines = [line for line in said.splitlines() if line.strip()] or ["nothing"]
        raise RuntimeError(f"fgexpo ended with {status}; it said last: {lines[-1]}")


def steps_of(runs: Path) -> list[dict[str, float]]:
    """Seconds by phase of each step that a run's event files have, besides ``other``.

    Args:
        runs: the logger's folder, of one run.
    """
    from fgexpo.figures.events import read_run

    folders = {path.parent for path in runs.rglob("events.out.tfevents.*")}
    logged = [row for folder in folders for row in read_run(folder).scalars]
    tags = {"step": "step_time"} | {phase: f"time/{phase}" for phase in PHASES}
    found = {name: [row.value for row in logged if row.tag == tag] for name, tag in tags.items()}
    rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=False)]
    return [row | {"other": row["step"] - sum(row[phase] for phase in PHASES)} for row in rows]


def _package(scratch: Path) -> Path:
    """A folder with the package as an installation has it, which nobody may have made here."""
    site = scratch / "site"
    if not site.exists():
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "fgexpo", site / "fgexpo", ignore=skipped)
        for part in ("callbacks", "datamodules", "configs"):
            shutil.copytree(ROOT / part, site / "fgexpo" / part, ignore=skipped)
    return site


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
