"""Seconds and peak memory of work on a device, and the operations that take them."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fgexpo.robustness.out_of_memory import is_out_of_memory

GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """Several runs of the same work.

    Attributes:
        seconds: of each run.
        peak: bytes of tensors at the worst moment, including earlier ones; None where that is not
            counted.
    """

    seconds: list[float]
    peak: int | None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Seconds in words."""
        if len(self.seconds) == 1:
            return f"{self.median:.2f} (1 run)"
        return f"{self.median:.2f} ({min(self.seconds):.2f}-{max(self.seconds):.2f})"


def synchronise(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """One run."""
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def measure(work: Callable[[], Any], device: str, repeats: int) -> Measured | None:
    """Run once to warm up and then ``repeats`` times; None if memory runs out."""
    try:
        work()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = [seconds_of(work, device) for _ in range(repeats)]
        return Measured(seconds, torch.cuda.max_memory_allocated() if device == "cuda" else None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    finally:
        # Outside the handler, whose traceback would hold every tensor of the failed run.
        tidy(device)
    return None


def tidy(device: str) -> None:
    """Free memory that nothing refers to any more."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def gib(size: int | None) -> str:
    """Bytes in words."""
    return "-" if size is None else f"{size / GIB:.1f}"


def profiled(work: Callable[[], Any], device: str) -> list[Any]:
    """Averages of all operations of one run, from torch's profiler."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        work()
        synchronise(device)
    return list(profile.key_averages())


def dearest(averages: list[Any], device: str, count: int) -> list[tuple[str, int, float]]:
    """Name, calls and share of the device's time of the slowest operations."""
    field = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    # Operations, not the kernels that they start, which are listed a second time.
    found = [a for a in averages if a.device_type == torch.autograd.DeviceType.CPU]
    total = sum(getattr(a, field) for a in found) or 1
    found.sort(key=lambda a: getattr(a, field), reverse=True)
    return [(a.key, a.count, getattr(a, field) / total) for a in found[:count]]
