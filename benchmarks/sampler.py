"""Time per step to choose questions: draw 256, update averages, refresh every weight.

``python benchmarks/sampler.py`` prints milliseconds at the paper's pool and at 200,000 questions,
and exits non-zero above 10 ms.
"""

import statistics
import sys
import time

import torch
from fgexpo.datamodules.sampler import CurriculumSampler

from fgexpo.curriculum.pass_rates import PassRateTable
from fgexpo.datamodules import CurriculumDataModule
from fgexpo.tasks import TinyArithmetic

POOLS, QUESTIONS, STEPS = (17_398, 200_000), 256, 50
LIMIT_MS = 10.0


def step_seconds(size: int) -> list[float]:
    """Seconds of each step, through the data module's own sampler and table."""
    data = CurriculumDataModule(TinyArithmetic(), questions_per_step=QUESTIONS, refresh="step")
    data.table = PassRateTable(size)
    weights = data.curriculum.weights(data.table)
    data.sampler = CurriculumSampler(weights, QUESTIONS, size // QUESTIONS, seed=0)
    seconds = []
    for step in range(STEPS):
        rates = torch.rand(QUESTIONS)
        started = time.perf_counter()
        drawn = data.sampler.draw(step)
        data.observe(torch.tensor(drawn), rates)
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Measure and judge."""
    torch.set_num_threads(1)
    slow = False
    for size in POOLS:
        seconds = step_seconds(size)
        median, worst = 1e3 * statistics.median(seconds), 1e3 * max(seconds[1:])
        slow |= median > LIMIT_MS
        print(f"{size:>7,} questions: median {median:5.2f} ms per step, worst {worst:5.2f} ms")
    sys.exit(f"above {LIMIT_MS:.0f} ms" if slow else 0)


if __name__ == "__main__":
    main()
