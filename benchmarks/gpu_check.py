"""Everything that needs a GPU, measured on whatever CUDA GPU this machine has: ``make gpu-check``.

``python benchmarks/gpu_check.py`` makes DeepSeek-R1-Distill-Qwen-1.5B's shape with random weights,
so that nothing is downloaded, and runs the project's own generation, scoring and updates on it with
rollouts of real lengths; vLLM is run where it is installed, and its server's NCCL transfer where
there is a second GPU. It writes ``docs/gpu.md`` after every finding, since a rented GPU may vanish
at any time, and no section stops another. It exits with 1 if a section or a check failed, and with
2 if there is no GPU. If torch, transformers, lightning and rich are already installed, it needs
nothing else: ``PYTHONPATH=. python3 benchmarks/gpu_check.py``.
"""

import argparse
import datetime
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu import attention, engine, generation, machine, parity, passes, process, report, server
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
        limit: seconds, several times what an H100 should take.
    """

    title: str
    work: Callable[[Setting], Iterator[Any]]
    limit: float


PARTS = {
    "machine": Part("Machine", machine.machine, 120),
    "parity": Part("Parity with float32", parity.parity, 600),
    "attention": Part("Attention kernels", attention.attention, 300),
    "generation": Part("Generation by the policy", generation.generation, 900),
    "score": Part("Log-probs", passes.score, 600),
    "update": Part("Updates", passes.update, 900),
    "vllm": Part("vLLM in the same process", engine.engine, 1200),
    "server": Part("vLLM's server on another GPU", server.server, 900),
}


def main(arguments: list[str] | None = None, parts: dict[str, Part] = PARTS) -> int:
    """Run the sections and write the file.

    Args:
        arguments: of the command line.
        parts: all sections, by name.
    """
    args = _parse(arguments, list(parts))
    sections = {name: report.Section(part.title) for name, part in parts.items()}
    for name, section in sections.items():
        section.state = "waiting" if name in args.sections else "left out"
    heading = _heading(args)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        # Neither a reader nor an interrupted write ever leaves half a file.
        part = out.with_suffix(".part")
        part.write_text(report.render(heading, list(sections.values())))
        part.replace(out)

    setting = Setting(args.shape, args.device)
    for name in args.sections:
        print(f"{name} ...", flush=True)
        for _ in process.run(sections[name], parts[name].work, setting, parts[name].limit):
            write()
        section = sections[name]
        print(f"{name}: {section.state} {section.error} ({section.seconds:.0f} s)", flush=True)
    fine = all(section.fine for section in sections.values())
    print(f"{out}: {'everything passed' if fine else 'something FAILED, see there'}")
    return 0 if fine else 1


def _parse(arguments: list[str] | None, names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SCALES), default=SHAPE)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", help=f"file to write; {OUT} for a whole run on a GPU")
    parser.add_argument("--sections", nargs="+", choices=names, metavar="NAME", help=str(names))
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA GPU here, so there is nothing to measure")
    whole = args.device == "cuda" and args.shape == SHAPE and not args.sections
    if args.out is None and not whole:
        parser.error(f"only a whole run on a GPU may replace {OUT}: give --out")
    args.out = args.out or str(ROOT / OUT)
    args.sections = [name for name in names if name in (args.sections or names)]
    return args


def _heading(args: argparse.Namespace) -> list[str]:
    now = datetime.datetime.now(datetime.UTC)
    config = SCALES[args.shape].config()
    lines = [
        f"Written by `python benchmarks/gpu_check.py` (`make gpu-check`) at {now:%Y-%m-%d %H:%M} "
        f"UTC, commit {_commit()}; not to be edited. {args.shape}: {config.num_hidden_layers} "
        f"layers of {config.hidden_size}, vocabulary {config.vocab_size:,}, random weights in "
        "float32, computing in bf16 by autocast (`bf16-mixed`) unless something else is said.",
        "MFU is the model's own floating-point operations (2 x parameters of the matrices x "
        "tokens, the LM head for completion tokens, and causal attention; three times that for an "
        "update; nothing for what is computed twice or padded: `benchmarks/gpu/flops.py`) over "
        "the data sheet's dense bf16 peak. Peaks of memory are those of tensors; `planned` is what "
        "`fgexpo plan` counts for the same work.",
    ]
    return [report.NOT_MEANT, *lines] if args.device == "cpu" else lines


def _commit() -> str:
    def git(*command: str) -> str:
        return subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    process.prepare()
    sys.exit(main())
