"""What ``fgexpo plan`` says of a run on a CPU, and what the same run takes, phase by phase.

    python benchmarks/plan_measured.py --config configs/tiny.yaml [options of plan and of fit]

It plans, then fits in this process, and prints both: the peak of resident memory (which Linux can
start anew) and the median seconds of a step. Take it on a machine that does nothing else.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 2**20
PHASES = ("generate", "score", "update", "step")


def resident(key: str) -> int:
    """Bytes of this process: ``VmRSS`` now, or ``VmHWM`` at the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this kernel does not tell a process's {key}")


class Meter:
    """Notes the peak and the seconds of every call of some functions."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def watch(self, owner: Any, name: str, phase: str) -> None:
        """Wrap a function; those of one phase may not be nested."""
        real: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            started = time.perf_counter()
            try:
                return real(*arguments, **options)
            finally:
                self.seconds[phase].append(time.perf_counter() - started)
                self.peaks[phase] = max(self.peaks[phase], resident("VmHWM"))

        setattr(owner, name, timed)


def main(arguments: list[str]) -> None:
    """Plan, run, compare."""
    import torch

    from fgexpo import module
    from fgexpo.cli import main as run
    from fgexpo.cli.plan import read_request
    from fgexpo.rollout.native import Native
    from fgexpo.update.step import Updates

    try:
        run(["plan", *arguments])
    except SystemExit as end:
        print(f"plan ended with {end.code}")
    libraries = resident("VmRSS")
    meter = Meter()
    meter.watch(Native, "generate", "generate")
    meter.watch(module, "score", "score")
    meter.watch(Updates, "accumulate_gradients", "update")
    meter.watch(Updates, "_step", "step")
    made: list[Any] = []
    real = module.prepare

    def noted(*given: Any, **options: Any) -> Any:
        made.append(real(*given, **options))
        return made[-1]

    module.prepare = noted
    run(["fit", *read_request(arguments)[1]])
    lengths = made[-1].sequences
    cuts = [len(rows) for cut in made[-1].cuts for rows in cut]
    print(
        f"\nthreads {torch.get_num_threads()}, libraries {libraries / MIB:.0f} MiB; the last "
        f"batch: prompts {int(lengths.prompt_lengths_N.min())}-"
        f"{int(lengths.prompt_lengths_N.max())}, mean {lengths.prompt_lengths_N.float().mean():.1f}"
        f", completions mean {lengths.completion_lengths_N.float().mean():.1f}, rows of the "
        f"micro-batches {cuts}"
    )
    for phase in PHASES:
        took = meter.seconds[phase]
        print(
            f"{phase:9s} peak {meter.peaks[phase] / MIB:7.0f} MiB, calls {len(took):3d}, median "
            f"{statistics.median(took):.3f} s, all {[round(one, 2) for one in took]}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
