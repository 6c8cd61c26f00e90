"""Peak memory and time of the LM head, forward and backward, compared with full logits.

``python benchmarks/lm_head.py`` prints both ratios and exits non-zero when the memory is above a
tenth, or the time above 1.35 times, that of ``log_softmax`` on full logits.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from fgexpo.model.lm_head import head_logprobs

MEMORY_LIMIT, TIME_LIMIT = 0.1, 1.35


def full(head: nn.Module, hidden_MH: torch.Tensor, target_M: torch.Tensor) -> torch.Tensor:
    """The naive way: full logits."""
    logp_MV = head(hidden_MH).float().log_softmax(-1)
    return logp_MV.gather(-1, target_M[:, None]).squeeze(-1)


def chunked(head: nn.Module, hidden_MH: torch.Tensor, target_M: torch.Tensor) -> torch.Tensor:
    """The project's path."""
    return head_logprobs(head, hidden_MH, target_M)[0]


KINDS = {"full": full, "chunked": chunked}


def measure(kind: str, tokens: int, hidden: int, vocabulary: int) -> tuple[float, float]:
    """Peak memory (MB) above the memory before, and seconds, of one forward and backward pass."""
    torch.manual_seed(0)
    head = nn.Linear(hidden, vocabulary, bias=False)
    hidden_MH = torch.randn(tokens, hidden, requires_grad=True)
    target_M = torch.randint(vocabulary, (tokens,))
    KINDS[kind](head, hidden_MH[:8], target_M[:8]).sum().backward()  # threads and kernels
    head.weight.grad = hidden_MH.grad = None
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _peak()
    started = time.perf_counter()
    KINDS[kind](head, hidden_MH, target_M).mean().backward()
    return (_peak() - before) / 1e6, time.perf_counter() - started


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell a process's peak memory")


def main() -> int:
    """Measure both in turns, each time in a new process, and compare the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    sizes = (args.tokens, args.hidden, args.vocabulary)
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    context = multiprocessing.get_context("spawn")
    for _ in range(args.repeats):
        for kind in KINDS:
            with context.Pool(1) as pool:
                found[kind].append(pool.apply(measure, (kind, *sizes)))
    print(f"T = {args.tokens}, hidden {args.hidden}, vocabulary {args.vocabulary}, fp32")
    for kind, runs in found.items():
        memory, seconds = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{kind:8} {memory:8.0f} MB  {seconds:6.2f} s")
    pairs = list(zip(found["chunked"], found["full"], strict=True))
    memory = statistics.median(a[0] / b[0] for a, b in pairs)
    times = [a[1] / b[1] for a, b in pairs]
    seconds = statistics.median(times)
    print(f"memory ratio {memory:.3f} (limit {MEMORY_LIMIT})")
    print(f"time ratio {seconds:.2f}, {min(times):.2f}-{max(times):.2f} (limit {TIME_LIMIT})")
    return int(memory > MEMORY_LIMIT or seconds > TIME_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
