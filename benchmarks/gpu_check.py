"""Everything that needs a GPU, measured on whatever CUDA GPU this machine has: ``make gpu-check``.

``python benchmarks/gpu_check.py`` makes DeepSeek-R1-Distill-Qwen-1.5B's shape with random weights,
so that nothing is downloaded, and measures the project's own code on it with rollouts of real
lengths: the most valuable sections first, ten minutes in all on an H100 or H200. It writes
``docs/gpu.md`` after every finding, since a rented GPU may vanish at any time, and no section stops
another. A section may use its limit and what earlier ones have left of theirs. It exits with 1 if a
section or a check failed, and with 2 if there is no GPU.

``--sections NAME ... --add`` measures some sections, and leaves the others of an existing report as
they are, so that two calls of five minutes can fill one report.

A machine needs torch, transformers, lightning and rich; a section that needs more (vLLM, TRL,
liger-kernel, the command line's packages) says so instead of failing. CONTRIBUTING.md, "A GPU
without a network", says how to bring them. Nothing needs to be installed:

    PYTHONPATH=. python3 benchmarks/gpu_check.py

"""

import argparse
import datetime
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu import (
    attention,
    deterministic,
    engine,
    fit,
    generation,
    machine,
    parity,
    process,
    report,
    server,
    trl_update,
    variant_table,
)
from gpu.scale import SCALES, Setting

ROOT = Path(__file__).parents[1]
OUT = "docs/gpu.md"
SHAPE = "r1-1.5b"


@dataclass(frozen=True)
class Part:
    """A section.

    Attributes:
        title: its heading.
        work: makes its findings.
        limit: seconds that are kept for it.
        expected: seconds that it should take on an H200: an estimate, from earlier runs' parts.
    """

    title: str
    work: Callable[[Setting], Iterator[Any]]
    limit: float
    expected: float = 0.0


PARTS = {
    "machine": Part("Machine", machine.machine, 25, 15),
    "variants": Part("Updates and log-probs by variant", variant_table.variants, 165, 150),
    "generation": Part("Generation by the policy", generation.generation, 45, 38),
    "vllm": Part("vLLM in the same process", engine.engine, 95, 85),
    "trl": Part("TRL on the same rollouts", trl_update.trl, 45, 38),
    "deterministic": Part("Determinism", deterministic.deterministic, 50, 45),
    "fit": Part("Ten steps of fit", fit.fit, 135, 120),
    "parity": Part("Parity with float32", parity.parity, 30, 22),
    "attention": Part("Attention kernels", attention.attention, 10, 8),
    "server": Part("vLLM's server on another GPU", server.server, 300, 100),
}
# Ends at once on a machine with one GPU.
SECOND_GPU = {"server"}
PATIENCE = 10  # times as much on a CPU, which only tests the script


def main(arguments: list[str] | None = None, parts: dict[str, Part] = PARTS) -> int:
    """Run the sections and write the file.

    Args:
        arguments: of the command line.
        parts: all sections, by name.
    """
    args = _parse(arguments, parts)
    out = Path(args.out)
    sections = _sections(args, parts, out)
    heading, whence = _heading(args), _whence(args)
    out.parent.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        # Neither a reader nor an interrupted write ever leaves half a file.
        part = out.with_suffix(".part")
        part.write_text(report.render(heading, list(sections.values())))
        part.replace(out)

    setting, began = Setting(args.shape, args.device), time.monotonic()
    patience = PATIENCE if args.device == "cpu" else 1
    ends = itertools.accumulate(patience * parts[name].limit for name in args.sections)
    for name, end in zip(args.sections, ends, strict=True):
        print(f"{name} ...", flush=True)
        section, limit = sections[name], began + end - time.monotonic()
        section.measured = whence
        for _ in process.run(section, parts[name].work, setting, limit):
            write()
        print(f"{name}: {section.state} {section.error} ({section.seconds:.0f} s)", flush=True)
    fine = all(sections[name].fine for name in args.sections)
    print(f"{out}: {'everything passed' if fine else 'something FAILED, see there'}")
    return 0 if fine else 1


def _sections(
    args: argparse.Namespace, parts: dict[str, Part], out: Path
) -> dict[str, report.Section]:
    """All sections: those to be measured wait, the others are as the earlier report has them."""
    sections = {name: report.Section(part.title) for name, part in parts.items()}
    before = out.read_text() if args.add else ""
    for name, section in sections.items():
        section.state = "waiting" if name in args.sections else "left out"
        if name not in args.sections:
            report.keep(section, before)
    return sections


def _parse(arguments: list[str] | None, parts: dict[str, Part]) -> argparse.Namespace:
    names = list(parts)
    seconds = "\n".join(
        f"    {name:14} about {part.expected:3.0f}, at most {part.limit:3.0f}"
        + (" (only with a second GPU)" if name in SECOND_GPU else "")
        for name, part in parts.items()
    )
    parser = argparse.ArgumentParser(
        description=f"{__doc__}seconds of each section on an H200 (estimates):\n\n{seconds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shape", choices=list(SCALES), default=SHAPE)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", help=f"file to write; {OUT} for a whole run on a GPU")
    parser.add_argument("--sections", nargs="+", choices=names, metavar="NAME", help=str(names))
    parser.add_argument(
        "--add", action="store_true", help="keep the other sections that --out already has"
    )
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA GPU here, so there is nothing to measure")
    whole = args.device == "cuda" and args.shape == SHAPE and (args.add or not args.sections)
    if args.out is None and not whole:
        parser.error(f"only a whole run on a GPU may replace {OUT}: give --out, or --add to it")
    args.out = args.out or str(ROOT / OUT)
    if args.add and not Path(args.out).is_file():
        parser.error(f"--add: there is no {args.out} to add to")
    args.sections = [name for name in names if name in (args.sections or names)]
    return args


def _heading(args: argparse.Namespace) -> list[str]:
    config = SCALES[args.shape].config()
    lines = [
        "Written by `python benchmarks/gpu_check.py` (`make gpu-check`); not to be edited. "
        f"{args.shape}: {config.num_hidden_layers} "
        f"layers of {config.hidden_size}, vocabulary {config.vocab_size:,}, random weights in "
        "float32, computing in bf16 by autocast (`bf16-mixed`) unless something else is said.",
        "MFU is the model's own floating-point operations (2 x parameters of the matrices x "
        "tokens, the LM head for completion tokens, and causal attention; three times that for an "
        "update; nothing for what is computed twice or padded: `benchmarks/gpu/flops.py`) over "
        "the data sheet's dense bf16 peak. Peaks of memory are those of tensors; `planned` is what "
        "`fgexpo plan` counts for the same work.",
    ]
    return [report.NOT_MEANT, *lines] if args.device == "cpu" else lines


def _whence(args: argparse.Namespace) -> str:
    """When, by which commit and on which GPU."""
    now = datetime.datetime.now(datetime.UTC)
    device = "a CPU" if args.device == "cpu" else machine.from_driver("name")
    return f"{now:%Y-%m-%d %H:%M} UTC, {_commit()}, {device}"


def _commit() -> str:
    def git(*command: str) -> str:
        return subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown commit"


if __name__ == "__main__":
    process.prepare()
    sys.exit(main())
