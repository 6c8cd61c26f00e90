"""A curriculum's first steps with and without a profile's pass-rates.

``python benchmarks/warm_start.py --rates pass_rates.json --config tiny`` trains a few steps a seed
in both ways and prints the mean over seeds of the effective sample size, of the share of groups
with a signal (``1 - frac_reward_zero_std``) and of accuracy, step by step. Everything after
``--config`` goes to ``fit``.
"""

import argparse
import csv
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from fgexpo.cli import main as fgexpo

WAYS = ("cold", "warm")
SHOWN: dict[str, Callable[[dict[str, str]], float]] = {
    "effective sample size": lambda row: float(row["curriculum/effective_sample_size"]),
    "groups with a signal": lambda row: 1 - float(row["frac_reward_zero_std"]),
    "accuracy": lambda row: float(row["accuracy"]),
}


def first_steps(options: Sequence[str], steps: int) -> list[dict[str, str]]:
    """What each step of a run has logged; nothing of the run is kept."""
    with TemporaryDirectory() as folder:
        short = [f"--steps={steps}", "--trainer.limit_val_batches=0", "--checkpoint=null"]
        logged = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={folder}"]
        assert fgexpo(["fit", *options, *short, *logged]) == 0
        (path,) = Path(folder).glob("*/*/metrics.csv")
        with path.open() as file:
            return [row for row in csv.DictReader(file) if row.get("frac_reward_zero_std")]


def report(found: dict[str, list[list[dict[str, str]]]]) -> list[str]:
    """Lines of a Markdown table: both ways, step by step, then over all steps with an interval.

    Args:
        found: rows by way, seed and step.
    """
    lines = ["| | " + " | ".join(f"{name}: {way}" for name in SHOWN for way in WAYS) + " |"]
    lines.append("|---" * (1 + len(SHOWN) * len(WAYS)) + "|")
    for step in range(len(found[WAYS[0]][0])):
        cells = [
            f"{statistics.fmean(read(rows[step]) for rows in found[way]):.3f}"
            for read in SHOWN.values()
            for way in WAYS
        ]
        lines.append(f"| step {step + 1} | {' | '.join(cells)} |")
    cells = []
    for read in SHOWN.values():
        for way in WAYS:
            means = [statistics.fmean(map(read, rows)) for rows in found[way]]
            error = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else float("nan")
            cells.append(f"{statistics.fmean(means):.3f} ± {error:.3f}")
    lines.append(f"| all, ± standard error over seeds | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Train, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rates", required=True, help="file that `fgexpo profile` has written")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    given, options = parser.parse_known_args()
    warm = f"--data.warm_start={os.path.abspath(given.rates)}"
    found: dict[str, list[list[dict[str, str]]]] = {way: [] for way in WAYS}
    for seed in range(given.seeds):
        for way, more in zip(WAYS, ([], [warm]), strict=True):
            own = [*options, f"--seed_everything={seed}", *more]
            found[way].append(first_steps(own, given.steps))
    print("\n".join(report(found)))


if __name__ == "__main__":
    main()
