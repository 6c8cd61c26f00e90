"""Does the tiny model learn as well from vLLM's rollouts as from the native engine's?

``python benchmarks/engines.py`` (where vLLM is installed) trains configs/tiny.yaml and
configs/tiny_vllm.yaml from one base with five seeds each, about 25 minutes on two CPU cores; runs
already in ``--runs`` are not repeated. It prints the final scores, draws the curves, and
exits with 1 when mean pass@1 differs by more than two standard errors.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SEEDS = range(5)
ENGINES = {"native": "configs/tiny.yaml", "vllm": "configs/tiny_vllm.yaml"}
TAGS = ("val/tiny/pass@1", "val/tiny/pass@8", "val/tiny/pass@32")


def curves(engine: str, seed: int, runs: Path) -> dict[str, list[tuple[int, float]]]:
    """Scores by rollout step of one run, which is made if it does not exist."""
    name = f"{engine}_{seed}"
    if not (runs / name).exists():
        command = [
            *(sys.executable, "-m", "fgexpo", "fit", "--config", ENGINES[engine]),
            *("--model.name=checkpoints/tiny-vllm-base", "--prepare=configs/tiny_vllm_base.yaml"),
            *(f"--seed_everything={seed}", f"--trainer.logger.save_dir={runs}"),
            f"--trainer.logger.name={name}",
        ]
        subprocess.run(command, check=True)
    events = EventAccumulator(str(runs / name / "version_0"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in TAGS}


def main() -> int:
    """Print, draw, and compare."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=str, default="runs/engines")
    parser.add_argument("--out", type=str, default="docs/engines.png")
    config = parser.parse_args()
    runs = Path(config.runs)
    found = {engine: [curves(engine, seed, runs) for seed in SEEDS] for engine in ENGINES}
    figure = Figure(figsize=(9, 3), layout="constrained")
    close = True
    for place, tag in enumerate(TAGS, start=1):
        axes = figure.add_subplot(1, len(TAGS), place)
        finals = {}
        for engine, colour in zip(ENGINES, ("tab:blue", "tab:orange"), strict=True):
            for number, run in enumerate(found[engine]):
                label = engine if number == 0 else None
                axes.plot(*zip(*run[tag], strict=True), color=colour, alpha=0.7, label=label)
            finals[engine] = [run[tag][-1][1] for run in found[engine]]
        means = {engine: statistics.mean(values) for engine, values in finals.items()}
        errors = {
            engine: statistics.stdev(values) / len(values) ** 0.5
            for engine, values in finals.items()
        }
        both = sum(error**2 for error in errors.values()) ** 0.5
        shown = "  ".join(f"{e} {means[e]:.4f} +- {errors[e]:.4f}" for e in ENGINES)
        difference = means["vllm"] - means["native"]
        print(f"{tag}: {shown}  difference {difference:+.4f}, two standard errors {2 * both:.4f}")
        if tag == TAGS[0]:
            close = abs(difference) <= 2 * both
        axes.set_title(tag)
        axes.set_xlabel("rollout step")
        axes.legend()
    figure.savefig(config.out, dpi=110)
    return 0 if close else 1


if __name__ == "__main__":
    sys.exit(main())
