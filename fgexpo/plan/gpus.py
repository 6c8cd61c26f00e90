"""Data sheets of GPUs."""

from dataclasses import dataclass

from ..errors import UserError

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """Data-sheet values: dense bf16 FLOP/s, bytes/s of memory and link, GiB of memory."""

    flops: float
    bandwidth: float
    link: float
    memory: float


GPUS = {
    "a100": Gpu(312e12, 2.04e12, 300e9, 80),
    "h100": Gpu(989e12, 3.35e12, 450e9, 80),
    "h200": Gpu(989e12, 4.8e12, 450e9, 140),
    "h20": Gpu(148e12, 4.0e12, 450e9, 96),
    "b200": Gpu(2250e12, 8.0e12, 900e9, 178),
    "l40s": Gpu(362e12, 0.864e12, 32e9, 45),
    "rtx4090": Gpu(165e12, 1.008e12, 32e9, 24),
}


def gpu_named(name: str) -> Gpu:
    """The data sheet of a GPU.

    Raises:
        UserError: for an unknown name.
    """
    if name.lower() not in GPUS:
        raise UserError(f"--gpu must be one of {', '.join(GPUS)}, got {name!r}")
    return GPUS[name.lower()]


def memory_named(gpu: Gpu) -> int:
    """Bytes of a GPU's memory."""
    return int(gpu.memory * GIB)
