"""Seconds, tokens and memory of a training step, ours and TRL's, on the same work in one run.

``python benchmarks/vs_trl.py`` (extra ``bench``; it needs the tiny base, which ``make demo``
makes) first checks that both sides have the same loss and gradient. Then they take turns, each
time in a new process with the same number of threads. It prints a table and exits with 1 if a
target is missed. Memory is the largest resident size of the training process, libraries included.
Results are in docs/performance.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from versus.side import Result, read_result
from versus.work import ROOT, WORKS, Work, model_folder

SIDES = ("ours", "theirs")
ROUNDS = 2
MEMORY_LIMIT = 1.0


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", help=f"of {', '.join(WORKS)}; all by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    unknown = set(args.works) - set(WORKS)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    run_module("versus.equal", [])
    print(f"{os.cpu_count()} cores; s per step and MiB: medians of {args.rounds} x ours, TRL's")
    print(
        f"{'work':<46}{'ours':>9}{'TRL':>9}{'ratio':>8}  {'of each pair':<14}{'tokens/s':>17}"
        f"{'memory':>13}{'ratio':>7}"
    )
    met = [compare(WORKS[name], name, args.rounds) for name in args.works or WORKS]
    return 0 if all(met) else 1


def compare(work: Work, name: str, rounds: int) -> bool:
    """Print a row of the table; return whether both targets are met."""
    found: dict[str, list[Result]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as scratch:
        model = model_folder(work, Path(scratch) / "model")
        for number in range(rounds):
            # The first side alternates, in case the machine slows down.
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                folder = Path(scratch) / f"{side}-{number}"
                folder.mkdir()
                out = folder / "result.json"
                run_module(f"versus.{side}", [name, str(model), str(out)])
                found[side].append(read_result(out))
    ours, theirs = (
        statistics.median(second for result in found[side] for second in result.seconds)
        for side in SIDES
    )
    pairs = [
        statistics.median(a.seconds) / statistics.median(b.seconds)
        for a, b in zip(found["ours"], found["theirs"], strict=True)
    ]
    rates = [
        work.rollouts * statistics.mean(result.tokens for result in found[side]) / seconds
        for side, seconds in zip(SIDES, (ours, theirs), strict=True)
    ]
    memory = [max(result.memory for result in found[side]) for side in SIDES]
    ratio, memory_ratio = ours / theirs, memory[0] / memory[1]
    fast, small = ratio <= work.limit, memory_ratio <= MEMORY_LIMIT
    print(
        f"{work.title:<46}{ours:>9.3f}{theirs:>9.3f}{ratio:>8.2f}  "
        f"{min(pairs):.2f} to {max(pairs):.2f}  {rates[0]:>8.0f} {rates[1]:>8.0f}"
        f"{memory[0]:>7.0f}{memory[1]:>6.0f}{memory_ratio:>7.2f}  "
        f"time {'met' if fast else 'MISSED'} (at most {work.limit}), "
        f"memory {'met' if small else 'MISSED'} (at most {MEMORY_LIMIT})",
        flush=True,
    )
    return fast and small


def run_module(module: str, arguments: list[str]) -> None:
    """Run one of the parts in its own process; show its output if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "1000",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout[-5000:])
        raise SystemExit(f"{module} {' '.join(arguments)} failed with status {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
