"""How long a save stops training on two processes: one file against a part of each process.

``python benchmarks/sharded_checkpoint.py`` trains one step of a model of 126 M parameters with
AdamW (1.5 GB of state) under FSDP2 on two processes, then saves it several times in both ways. It
prints how long training waits, until when the checkpoint is complete, and what the first process's
memory grows by in the first round. It exits non-zero if the parts stop training longer than a third
of the file. ``--layers 1`` instead of 8 shows in a minute that it runs, with 0.2 GB of state.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from checkpoint import AtomicCheckpointIO, make_model
from lightning.pytorch import Callback, Trainer

from fgexpo.callbacks import RolloutCheckpoint, StopAfter
from fgexpo.datamodules import CurriculumDataModule
from fgexpo.evaluation import EvaluationSettings
from fgexpo.module import GRPOModule
from fgexpo.robustness.content import check
from fgexpo.rollout import Sampling
from fgexpo.tasks import TinyArithmetic

LIMIT = 1 / 3
REPEATS = 3
# The second process, which Lightning starts, finds the folder of the first.
FOLDER = "FGEXPO_BENCHMARK_FOLDER"


class Saves(Callback):
    """Saves at the end of training, while the processes still hold their slices.

    Attributes:
        rows: of every round the seconds that training waits for a file, for the parts, until the
            parts are complete; and the bytes that memory grows by for the file and the parts.
        checking: seconds that reading every byte of the parts takes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[float, ...]] = []
        self.checking = 0.0

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Measure."""
        kinds = {}
        # The parts first, whose copy stays: it would hide in what a file has given back.
        for name in ("parts", "file"):
            kinds[name] = RolloutCheckpoint(keep=1, sharded=name == "parts")
            kinds[name].folder = self.folder / name
            kinds[name].folder.mkdir(exist_ok=True)
        for number in range(REPEATS + 1):
            pl_module.rollout_step = number
            row = []
            for saver in kinds.values():
                trainer.strategy.barrier()
                before = peak(reset=True)
                began = time.perf_counter()
                saver.save(trainer, pl_module)
                trainer.strategy.barrier()
                waited = time.perf_counter() - began
                saver.finish(trainer)
                row.append((waited, time.perf_counter() - began, peak() - before))
            (parts, complete, some), (file, _, most) = row
            self.rows.append((file, parts, complete, most, some))
        began = time.perf_counter()
        check(kinds["parts"].folder / f"step={REPEATS:06d}.ckpt")
        self.checking = time.perf_counter() - began


def peak(reset: bool = False) -> int:
    """The most bytes that this process has held, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def measure(folder: Path, layers: int) -> Saves:
    """Train one step, then save."""
    if not (folder / "model").exists():
        make_model(folder / "model", layers)
    short, saves = Sampling(max_new_tokens=8), Saves(folder)
    module = GRPOModule(
        str(folder / "model"),
        group_size=2,
        sampling=short,
        max_prompt_tokens=64,
        evaluation=EvaluationSettings(1, [1], short),
        optimizer=lambda params: torch.optim.AdamW(params, lr=1e-6),
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="fsdp2",
        max_epochs=-1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
        callbacks=[saves, RolloutCheckpoint(None, None), StopAfter(1)],
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(module, CurriculumDataModule(TinyArithmetic("pool", 1), questions_per_step=2))
    return saves


def main() -> int:
    """Measure both ways in turn and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=8, help="of the model; 0.19 GB of state each")
    layers = parser.parse_args().layers
    if FOLDER in os.environ:
        measure(Path(os.environ[FOLDER]), layers)
        return 0
    with tempfile.TemporaryDirectory(dir=".") as name:
        os.environ[FOLDER] = name
        saves = measure(Path(name), layers)
        size = sum(path.stat().st_size for path in Path(name).glob("parts/step=*/*"))
    columns = zip(*saves.rows[1:], strict=True)
    file, parts, complete, *_ = map(statistics.median, columns)
    # Later rounds use memory again that the first one has taken from the system.
    _, first, _, most, some = saves.rows[0]
    print(f"state {size / 1e9:.2f} GB on two processes")
    print(f"one file: training waits {file:.2f} s, memory grows by {most / 1e9:.2f} GB")
    print(
        f"parts: training waits {parts:.2f} s (the first time {first:.2f} s), complete after "
        f"{complete:.2f} s, memory grows by {some / 1e9:.2f} GB"
    )
    print(f"checking every byte of the parts: {saves.checking:.2f} s")
    print(f"parts / file = {parts / file:.2f}")
    return int(parts > LIMIT * file)


if __name__ == "__main__":
    sys.exit(main())
