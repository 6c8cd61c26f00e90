"""The least time that a step's arithmetic and memory traffic could take, and its actual time.

``python benchmarks/floor.py`` (it needs the tiny base, which ``make demo`` makes) runs a step's
phases on this machine's CPU under a counter of operations. Matrix products are counted by shape and
divided by the rate measured at the same shape; attention by its FLOPs at the best of these rates;
everything else by the bytes it reads and writes, at the rate of an addition that stays in the
caches. The difference between the sum and the measured time is the cost of starting operations, of
memory that the caches do not hold, and of Python.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count
from versus.work import WORKS, Work, model_folder, one_step

from fgexpo.cli.allocator import keep_freed_memory
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join
from fgexpo.rollout import Native
from fgexpo.types import Completions
from fgexpo.update.micro_batches import pack

MICRO_BATCH, REPEATS = 4096, 3
PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm}
# The CPU's kernels, which torch's own counter does not know.
_KERNEL = "_scaled_dot_product_flash_attention_for_cpu"
ATTENTION = {
    getattr(torch.ops.aten, _KERNEL): sdpa_flop_count,
    getattr(torch.ops.aten, f"{_KERNEL}_backward"): sdpa_backward_flop_count,
}
Shape = tuple[int, int, int, int]  # batch, rows, inner, columns


class Operations(TorchDispatchMode):
    """Counts operations: products by shape, attention's FLOPs, and the bytes of the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Shape] = Counter()
        self.attention = 0
        self.bytes = 0
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in PRODUCTS:
            left, right = [x for x in args if isinstance(x, Tensor)][-2:]
            batch = left.shape[0] if left.ndim == 3 else 1
            self.products[batch, left.shape[-2], left.shape[-1], right.shape[-1]] += 1
        elif packet in ATTENTION:
            # Query, key and value; in the backward pass the output's gradient comes first.
            self.attention += ATTENTION[packet](*(x.shape for x in args[: 3 + _backward(packet)]))
        elif not func.is_view:
            self.bytes += sum(map(_size, (*args, *(kwargs or {}).values(), found)))
        self.calls += not func.is_view
        return found


def _backward(packet: Any) -> bool:
    return ATTENTION[packet] is sdpa_backward_flop_count


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        # The repeated part of an expanded tensor is read once.
        return value.untyped_storage().nbytes() if 0 in value.stride() else value.nbytes
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def main() -> None:
    """Print one table per work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", default=["natural", "fixed-0.6M"])
    keep_freed_memory()
    for name in parser.parse_args().works:
        with tempfile.TemporaryDirectory() as scratch:
            work = WORKS[name]
            print(f"\n{work.title}, one optimizer step's worth of each phase on the whole batch")
            print(
                f"{'phase':<10}{'GFLOP':>9}{'s':>8}{'attention':>11}{'GB':>8}{'s':>8}{'floor s':>9}"
                f"{'measured s':>12}{'share':>8}{'operations':>12}"
            )
            for phase, run in phases(work, model_folder(work, Path(scratch))).items():
                _row(phase, run)


def phases(work: Work, folder: Path) -> dict[str, Callable[[], Any]]:
    """Generation, the reference's log-probs, and an update that also computes entropies."""
    policy: Any = load_model(str(folder), "float32")
    enable_packing(policy)
    request = one_step(work, folder)

    def generate() -> Completions:
        return Native().generate(policy.eval(), request)

    sequences = join(request.prompts, generate(), request.groups)
    rows = torch.arange(work.rollouts)
    parts = pack(rows, sequences.lengths_N, MICRO_BATCH, padded=False)

    def score() -> None:
        with torch.no_grad():
            for part in parts:
                completion_logprobs(policy.eval(), sequences.select(part))

    def update() -> None:
        _update(policy.train(), [sequences.select(part) for part in parts])

    return {"generate": generate, "score": score, "update": update}


def _update(policy: nn.Module, parts: list[Any]) -> None:
    policy.zero_grad()
    for part in parts:
        completion_logprobs(policy, part, entropy=True)[0].sum().backward()


def _row(phase: str, run: Callable[[], Any]) -> None:
    run()
    measured = statistics.median(_seconds(run) for _ in range(REPEATS))
    with Operations() as counted:
        run()
    rates = {shape: _rate(shape) for shape in counted.products}
    flops = {shape: 2 * _volume(shape) * n for shape, n in counted.products.items()}
    products = sum(flops[shape] / rates[shape] for shape in flops)
    attention = counted.attention / max(rates.values())
    traffic = counted.bytes / _bandwidth()
    floor = products + attention + traffic
    print(
        f"{phase:<10}{sum(flops.values()) / 1e9:>9.2f}{products:>8.3f}{attention:>11.3f}"
        f"{counted.bytes / 1e9:>8.2f}{traffic:>8.3f}{floor:>9.3f}{measured:>12.3f}"
        f"{floor / measured:>8.0%}{counted.calls:>12,}",
        flush=True,
    )


def _volume(shape: Shape) -> int:
    batch, rows, inner, columns = shape
    return batch * rows * inner * columns


def _rate(shape: Shape) -> float:
    """FLOP/s of a product of this shape."""
    batch, rows, inner, columns = shape
    left, right = torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)
    if batch == 1:
        left, right = left[0], right[0]
    repeats = max(3, min(50, int(2e8 / _volume(shape))))
    best = min(_seconds(lambda: torch.matmul(left, right)) for _ in range(repeats))
    return 2 * _volume(shape) / best


def _bandwidth() -> float:
    """Bytes per second of an addition of a megabyte, read twice and written once."""
    a, b = torch.randn(2, 2**18)
    out = torch.empty_like(a)
    best = min(_seconds(lambda: torch.add(a, b, out=out)) for _ in range(50))
    return 3 * a.nbytes / best


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
