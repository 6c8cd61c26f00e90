"""How long a save blocks training, compared with copying the state and writing its bytes.

``python benchmarks/checkpoint.py`` trains one step of a model of 126 M parameters with AdamW
(1.5 GB of state), then saves it several times. Each time it also copies the same state in memory
and writes and fsyncs as many bytes to the same folder. It exits non-zero if the median save takes
longer than 1.2 x the copy plus the write.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from fgexpo.callbacks import StopAfter
from fgexpo.datamodules import CurriculumDataModule
from fgexpo.evaluation import EvaluationSettings
from fgexpo.module import GRPOModule
from fgexpo.robustness.checkpoint import AtomicCheckpointIO
from fgexpo.rollout import Sampling
from fgexpo.tasks import TinyArithmetic
from fgexpo.tasks.tiny_model import TinyQwen2

LIMIT = 1.2
REPEATS = 5


def make_model(folder: Path, layers: int = 8) -> None:
    """Make a model of 126 M parameters, with eight layers."""
    shape = TinyQwen2(hidden_size=1024, layers=layers, intermediate_size=4096)
    shape.model().save_pretrained(folder)
    shape.tokenizer().save_pretrained(folder)


def trained(folder: Path) -> Trainer:
    """A trainer after one rollout step, with its optimizer state."""
    make_model(folder / "model")
    short = Sampling(max_new_tokens=8)
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
        max_epochs=-1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[StopAfter(1)],
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(module, CurriculumDataModule(TinyArithmetic("pool", 1), questions_per_step=2))
    return trainer


def tensors(state: Any) -> list[torch.Tensor]:
    """Every tensor in a nested state."""
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state
    return [x for v in values for x in tensors(v)] if isinstance(state, dict | list) else []


def copy_seconds(state: list[torch.Tensor]) -> float:
    """A copy of the state in this host's memory."""
    began = time.perf_counter()
    copies = [tensor.clone() for tensor in state]
    seconds = time.perf_counter() - began
    del copies
    return seconds


def write_seconds(count: int, path: Path) -> float:
    """Write and fsync this many bytes."""
    block = memoryview(bytearray(os.urandom(2**24)))
    began = time.perf_counter()
    with path.open("wb") as file:
        for start in range(0, count, len(block)):
            file.write(block[: min(len(block), count - start)])
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds


def main() -> int:
    """Measure side by side and print the medians."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        trainer = trained(folder)
        state = tensors(trainer._checkpoint_connector.dump_checkpoint(False))
        rows = []
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            trainer.save_checkpoint(folder / "a.ckpt", weights_only=False)
            save = time.perf_counter() - began
            size = (folder / "a.ckpt").stat().st_size
            rows.append((save, copy_seconds(state), write_seconds(size, folder / "raw")))
    save, copy, write = (statistics.median(column) for column in zip(*rows[1:], strict=True))
    allowed = LIMIT * copy + write
    print(f"state {size / 1e9:.2f} GB: save {save:.2f} s, copy {copy:.2f} s, write {write:.2f} s")
    print(f"save / (1.2 x copy + write) = {save / allowed:.2f}")
    return int(save > allowed)


if __name__ == "__main__":
    sys.exit(main())
