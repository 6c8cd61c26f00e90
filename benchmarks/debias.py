"""What correcting pass-rates for their start changes, where most of the pool is hopeless.

``python benchmarks/debias.py --out docs/algorithms.md`` prints two tables and writes them there, in
ten minutes of one core. The first is arithmetic. The second is of training runs, with base and pool
of configs/studies/hopeless.yaml; nothing is evaluated.
"""

import argparse
import csv
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fgexpo.cli import main as fgexpo
from fgexpo.cli.allocator import keep_freed_memory
from fgexpo.curriculum import Gaussian, PassRateTable
from fgexpo.files import write_text

FOLDER = Path("studies/debias")
STEPS, LAST, SEEDS = 60, 20, (0,)
VISITS = (1, 2, 4, 8, 30)
BEGIN, END = "<!-- benchmarks/debias.py: {} -->", "<!-- end of {} -->"
BASE = [
    "--config=configs/tiny_base.yaml",
    "--data.levels=[1,2]",
    "--data.val.tiny.init_args.levels=[1,2]",
    "--data.val.stop.init_args.levels=[1,2]",
    "--export.init_args.low=0.35",
    "--export.init_args.high=0.65",
]
STOP = (
    "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/stop/pass@1, "
    "mode: max, stopping_threshold: 0.45, patience: 100}}]"
)
POOL = (
    "--data.train={class_path: Mixture, init_args: {sources: ["
    "{class_path: TinyArithmetic, init_args: {split: pool, levels: [1, 2], per_cell: 70}}, "
    "{class_path: TinyArithmetic, init_args: {split: pool, levels: [3, 4], per_cell: 210}}]}}"
)
RUN = f"""
--config=configs/tiny.yaml --prepare=null --steps={STEPS} --data.refresh=step --akl=null
--panels=null --frontier=null --checkpoint=null --layout=null --hparams=null --rollouts=null
--trainer.limit_val_batches=0 --trainer.logger=CSVLogger
""".split()
SHARP = "{class_path: Gaussian, init_args: {std: 0.2}}"
SHARED = f"{{class_path: Shared, init_args: {{key: cell, inner: {SHARP}}}}}"


class Arm(NamedTuple):
    """A curriculum, and how its averages move."""

    curriculum: str
    decay: float = 0.9


ARMS = {
    "`Uniform`": Arm("Uniform"),
    "`Gaussian`, std .35, decay .9 (paper)": Arm("Gaussian"),
    "`Gaussian`, std .2, decay .5": Arm(SHARP, 0.5),
    "`Shared` by cell, std .2, decay .5": Arm(SHARED, 0.5),
}


class Seen(NamedTuple):
    """What a run has logged: shares of informative groups, and the last step's sample size."""

    informative: float
    informative_last: float
    sample_size: float


def measure(name: str, arm: Arm, debias: bool, seed: int) -> Seen:
    """Run one arm, unless it has run already."""
    log = FOLDER / "runs" / name / "version_0" / "metrics.csv"
    if not log.exists():
        settings = [
            f"--model.name={FOLDER / 'base'}",
            POOL,
            f"--data.curriculum={arm.curriculum}",
            f"--data.decay={arm.decay}",
            f"--data.debias={str(debias).lower()}",
            f"--seed_everything={seed}",
            f"--trainer.logger.save_dir={FOLDER / 'runs'}",
            f"--trainer.logger.name={name}",
            "--trainer.logger.version=0",
        ]
        _run(["fit", *RUN, *settings])
    with log.open() as file:
        return summary(list(csv.DictReader(file)))


def summary(rows: list[dict[str, str]]) -> Seen:
    """The figures of a run's log."""
    silent = _column(rows, "frac_reward_zero_std")
    informative = [1 - share for share in silent]
    return Seen(
        statistics.mean(informative),
        statistics.mean(informative[-LAST:]),
        _column(rows, "curriculum/effective_sample_size")[-1],
    )


def _column(rows: list[dict[str, str]], tag: str) -> list[float]:
    return [float(row[tag]) for row in rows if row.get(tag)]


def hopeless_table() -> str:
    """Markdown: the weight of a question that always fails, against one that is half solved."""
    lines = [
        "| `Gaussian` | `data.debias` | " + " | ".join(f"n = {n}" for n in VISITS) + " |",
        "|---|---" + "|---" * len(VISITS) + "|",
    ]
    for std, decay in ((0.35, 0.9), (0.2, 0.5)):
        for debias in (False, True):
            rates = PassRateTable(1, decay, debias=debias)
            weights = {}
            for visit in range(1, max(VISITS) + 1):
                rates.update(torch.tensor([0]), torch.tensor([0.0]))
                weights[visit] = float(Gaussian(0.5, std).weights(rates))
            cells = " | ".join(f"{weights[visit]:.3f}" for visit in VISITS)
            lines.append(f"| std {std:g}, decay {decay:g} | {str(debias).lower()} | {cells} |")
    return "\n".join(lines)


def table(found: dict[tuple[str, bool], list[Seen]]) -> str:
    """Markdown: a row for each arm, its seeds' values one after another."""
    lines = [
        f"| curriculum | `data.debias` | informative groups | in the last {LAST} steps | "
        "effective sample size at the end |",
        "|---|---|---|---|---|",
    ]
    for (name, debias), runs in found.items():
        cells = [
            "; ".join(f"{seen.informative:.2f}" for seen in runs),
            "; ".join(f"{seen.informative_last:.2f}" for seen in runs),
            "; ".join(f"{seen.sample_size:,.0f}" for seen in runs),
        ]
        lines.append(f"| {name} | {str(debias).lower()} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _run(arguments: list[str]) -> None:
    if fgexpo(arguments):
        raise SystemExit(f"this did not end well: {arguments}")


def main(arguments: list[str] | None = None) -> None:
    """Make the base if it is missing, run what has not run yet, write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=None)
    options: Any = parser.parse_args(arguments)
    keep_freed_memory()
    if not (FOLDER / "base").is_dir():
        _run(["fit", *BASE, STOP, f"--export.out={FOLDER / 'base'}"])
    found: dict[tuple[str, bool], list[Seen]] = {}
    for seed in SEEDS:
        for number, (name, arm) in enumerate(ARMS.items()):
            for debias in (False, True) if number else (False,):
                seen = measure(f"arm={number}-debias={debias:d}-seed={seed}", arm, debias, seed)
                found.setdefault((name, debias), []).append(seen)
        print(hopeless_table(), table(found), sep="\n\n", flush=True)
    if options.out is not None:
        text = options.out.read_text()
        for name, content in (("hopeless", hopeless_table()), ("runs", table(found))):
            begin, end = BEGIN.format(name), END.format(name)
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"
        write_text(options.out, text)


if __name__ == "__main__":
    main()
