"""The cost of a step besides sampling and training: draws, averages, AKL, grading, logs, saves.

``python benchmarks/overhead.py`` (it needs the tiny base, which ``make demo`` makes) trains the
tiny world with FG-ExPO, its weights refreshed every step, on the embedded pool and on pools of
17,398 and 200,000 questions made of it, with a clock around each part. It exits with 1 when AKL and
GCS together take 1 % of a step or more.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fgexpo.callbacks.frontier import FrontierImages
from fgexpo.datamodules.sampler import CurriculumSampler
from lightning.pytorch.loggers import TensorBoardLogger
from versus.work import BASE, pool

from fgexpo.__main__ import run
from fgexpo.callbacks import AKLCallback, RolloutCheckpoint
from fgexpo.datamodules import CurriculumDataModule
from fgexpo.module import GRPOModule
from fgexpo.rewards import MathVerifier

POOLS = (17_398, 200_000)
WARM, STEPS = 3, 22
LIMIT = 0.01
# Timed methods by their names in the table; the first three are the paper's two ideas.
PARTS = {
    "GCS: draw": (CurriculumSampler, "draw"),
    "GCS: averages, weights": (CurriculumDataModule, "observe"),
    "AKL": (AKLCallback, "on_train_batch_start"),
    "verifier": (MathVerifier, "verify"),
    "log calls": (GRPOModule, "log_dict"),
    "log writes": (TensorBoardLogger, "log_metrics"),
    "frontier image": (FrontierImages, "on_train_batch_end"),
    "checkpoint": (RolloutCheckpoint, "save"),
}
IDEAS = list(PARTS)[:3]
STEP = (GRPOModule, "training_step")


def main() -> int:
    """Print the table; 1 when the ideas cost too much."""
    if not BASE.is_dir():
        raise SystemExit(f"{BASE} is not there: run `make demo` first, which makes it")
    seconds: dict[str, list[float]] = defaultdict(list)
    for name, (owner, method) in PARTS.items():
        setattr(owner, method, timed(getattr(owner, method), seconds[name]))
    ends: list[float] = []
    setattr(STEP[0], STEP[1], noted(getattr(*STEP), ends))
    columns = {}
    with tempfile.TemporaryDirectory() as scratch:
        for size in (len(pool()), *POOLS):
            for spent in (*seconds.values(), ends):
                spent.clear()
            train(Path(scratch), size)
            columns[size] = milliseconds(seconds, ends)
    return report(columns)


def timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The method, with its seconds recorded."""

    def wrapped(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*args, **options)
        finally:
            spent.append(time.perf_counter() - began)

    return wrapped


def noted(method: Callable[..., Any], ends: list[float]) -> Callable[..., Any]:
    """The method, with the time of each end recorded."""

    def wrapped(*args: Any, **options: Any) -> Any:
        found = method(*args, **options)
        ends.append(time.perf_counter())
        return found

    return wrapped


def train(scratch: Path, size: int) -> None:
    """A short run on a pool of this size."""
    rows, known = scratch / f"{size}.jsonl", pool()
    with rows.open("w") as file:
        for n in range(size):
            file.write(json.dumps({"id": str(n), **known[n % len(known)]}) + "\n")
    source = {"class_path": "QuestionFile", "init_args": {"path": str(rows), "id_column": "id"}}
    sys.argv = [
        "fgexpo",
        "fit",
        "--config=configs/tiny.yaml",
        "--prepare=null",
        f"--steps={WARM + STEPS}",
        f"--data.train={json.dumps(source)}",
        "--data.val=null",
        "--data.refresh=step",
        f"--trainer.logger.save_dir={scratch / str(size)}",
        "--checkpoint.every_steps=10",
    ]
    code = run()
    if code:
        raise SystemExit(f"the run ended with status {code}")


def milliseconds(seconds: dict[str, list[float]], ends: list[float]) -> dict[str, float]:
    """Per step: the median for work of every step, the mean over steps for the rest."""
    found = {
        "step": statistics.median(
            b - a for a, b in zip(ends[WARM:], ends[WARM + 1 :], strict=False)
        )
    }
    for name, spent in seconds.items():
        if len(spent) == WARM + STEPS:
            found[name] = statistics.median(spent[WARM:])
        else:
            found[name] = sum(spent) / (WARM + STEPS)
    found["one checkpoint"] = statistics.median(seconds["checkpoint"])
    return {name: 1e3 * value for name, value in found.items()}


def report(columns: dict[int, dict[str, float]]) -> int:
    """Print; 1 when the ideas cost too much."""
    print("milliseconds per step".ljust(26) + "".join(f"{size:>12,}" for size in columns))
    for name in next(iter(columns.values())):
        print(name.ljust(26) + "".join(f"{column[name]:>12.2f}" for column in columns.values()))
    shares = [sum(column[name] for name in IDEAS) / column["step"] for column in columns.values()]
    print("AKL + GCS, of a step".ljust(26) + "".join(f"{share:>12.2%}" for share in shares))
    fine = max(shares) < LIMIT
    print(f"{'met' if fine else 'MISSED'}: less than {LIMIT:.0%}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
