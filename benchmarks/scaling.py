"""How a step's cost grows with model, length, group size, micro-batch and processes, on a CPU.

``python benchmarks/scaling.py`` prints the tables of docs/scaling.md, in about ten minutes on two
cores. Every case runs in its own process, on one thread, through the project's own code paths.
"""

import csv
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lm_head import _peak

from fgexpo.losses import grpo_loss
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join
from fgexpo.parallel.balance import assign
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.tasks.tiny_model import TinyQwen2
from fgexpo.update.micro_batches import pack

ROOT = Path(__file__).parents[1]
QUESTIONS, PROMPT = 8, 32
MODELS = {
    "0.3 M": TinyQwen2(max_positions=4096),
    "5 M": TinyQwen2(256, 6, 8, 4, 1024, max_positions=4096),
    "20 M": TinyQwen2(512, 6, 8, 4, 2048, max_positions=4096),
}


@dataclass(frozen=True)
class Case:
    """One measurement; unset fields have the base case's values."""

    model: str = "5 M"
    tokens: int = 256
    group: int = 8
    micro_batch_tokens: int = 4096
    checkpointing: bool = False


BASE = Case()
TABLES = {
    "model": [replace(BASE, model=name) for name in MODELS],
    "length": [replace(BASE, tokens=tokens) for tokens in (64, 256, 512)],
    "group": [replace(BASE, group=group) for group in (2, 8, 16)],
    "micro_batch_tokens": [
        replace(BASE, micro_batch_tokens=tokens, checkpointing=checkpointing)
        for checkpointing in (False, True)
        for tokens in (1024, 4096, 16384)
    ],
}


def measure(case: Case) -> tuple[float, float, float, float]:
    """Seconds of generating, scoring and updating; MB by which updating raises the peak."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = MODELS[case.model].model()
    enable_packing(model)
    prompts = [[2 + (7 * q + i) % 18 for i in range(PROMPT)] for q in range(QUESTIONS)]
    seeds = [[q * case.group + g for g in range(case.group)] for q in range(QUESTIONS)]
    # No token ends a completion, so that all have the same length.
    request = RolloutRequest(
        prompts, seeds, Sampling(case.tokens), [], torch.device("cpu"), PROMPT + case.tokens
    )
    times = [time.perf_counter()]
    done = Native().generate(model, request)
    times.append(time.perf_counter())
    sequences = join(prompts, done, request.groups)
    rows = torch.arange(len(sequences.lengths_N))
    cuts = pack(rows, sequences.lengths_N, case.micro_batch_tokens, padded=False)
    old_NT = torch.zeros_like(done.logp_NT)
    with torch.no_grad():
        for micro in cuts:
            old_NT[micro], _ = completion_logprobs(model, sequences.select(micro), entropy=True)
    times.append(time.perf_counter())
    if case.checkpointing:
        model.train().gradient_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, started = _peak(), time.perf_counter()
    for micro in cuts:
        logp_nT, _ = completion_logprobs(model, sequences.select(micro))
        mask_nT = done.mask_NT[micro]
        advantages_n = micro.float().sin()
        clip = {"clip_low": 0.2, "clip_high": 0.28, "kl_coef": 0.02}
        grpo_loss(
            logp_nT, old_NT[micro], old_NT[micro], advantages_n, mask_nT, **clip
        ).loss.backward()
    update = time.perf_counter() - started
    return times[1] - times[0], times[2] - times[1], update, (_peak() - before) / 1e6


def print_tables() -> None:
    """One factor at a time."""
    context = multiprocessing.get_context("spawn")
    print("| factor | | generate s | score s | update s | update, MB above rest |")
    print("|---|---|---|---|---|---|")
    for factor, cases in TABLES.items():
        for case in cases:
            with context.Pool(1) as pool:
                generate, score, update, memory = pool.apply(measure, (case,))
            field = {"length": "tokens"}.get(factor, factor)
            value = f"{getattr(case, field)}{', checkpointing' if case.checkpointing else ''}"
            print(
                f"| {factor} | {value} | {generate:.2f} | {score:.2f} | {update:.2f} | "
                f"{memory:.0f} |",
                flush=True,
            )


def print_processes(folder: Path) -> None:
    """The same run on one process and on two, with one core each."""
    torch.manual_seed(0)
    shape = MODELS["5 M"]
    shape.model().save_pretrained(folder / "model")
    shape.tokenizer().save_pretrained(folder / "model")
    print("\n| processes | strategy | generate s | score s | update s | step s |")
    print("|---|---|---|---|---|---|")
    for devices, strategy in ((1, "auto"), (2, "ddp"), (2, "fsdp2")):
        name = f"{strategy}-{devices}"
        logger = f"{{class_path: CSVLogger, init_args: {{save_dir: {folder}, name: {name}}}}}"
        command = [sys.executable, "-m", "fgexpo", "fit", f"--config={ROOT}/configs/tiny.yaml"]
        command += [f"--model.name={folder}/model", "--steps=6", f"--trainer.devices={devices}"]
        command += [f"--trainer.strategy={strategy}", f"--trainer.logger={logger}", "--data.val={}"]
        command += ["--model.sampling.max_new_tokens=64", "--panels=null"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, capture_output=True, cwd=folder)
        (path,) = (folder / name).glob("*/metrics.csv")
        with path.open() as file:
            steps = [row for row in csv.DictReader(file) if row.get("step_time")][1:]
        tags = ("time/generate", "time/score", "time/update", "step_time")
        medians = [statistics.median(float(row[tag]) for row in steps) for tag in tags]
        cells = " | ".join(f"{seconds:.2f}" for seconds in medians)
        print(f"| {devices} | {strategy} | {cells} |", flush=True)


def print_balance() -> None:
    """Tokens of the busiest process over the mean, before and after balancing."""
    generator = torch.Generator().manual_seed(0)
    print("\n| questions an update | before | after |")
    print("|---|---|---|")
    for questions in (32, 64, 256):
        ratios = []
        for _ in range(20):
            # Each question has its own share of the spread; cut at the token limit.
            own = torch.randn(8, 32, 1, generator=generator)
            each = torch.randn(8, 32, 8, generator=generator)
            lengths = (1200 * (0.5 * own + 0.5 * each).exp()).clamp(64, 3072) + 150
            tokens = lengths.sum(2).long()
            size = questions // 8
            after = torch.tensor(
                [[int(tokens[pair]) for pair in taken] for taken in assign(tokens, size)]
            )
            loads = [x.view(8, -1, size).sum(2).double() for x in (tokens, after)]
            ratios.append([float((load.amax(0) / load.mean(0)).mean()) for load in loads])
        before, later = (statistics.mean(column) for column in zip(*ratios, strict=True))
        print(f"| {questions} | {before:.3f} | {later:.3f} |")


def main() -> None:
    """Print all tables."""
    count = sum(p.numel() for p in MODELS["5 M"].model().parameters())
    print(f"{QUESTIONS} questions, G = {BASE.group}, {BASE.tokens} tokens, {count:,} parameters\n")
    print_tables()
    with tempfile.TemporaryDirectory() as folder:
        print_processes(Path(folder))
    print_balance()


if __name__ == "__main__":
    main()
