"""Running sums that come out the same every time, where PyTorch is asked for that."""

import torch
from torch import Tensor


def running_sum(values: Tensor) -> Tensor:
    """Sums of the first one, two, three ... numbers along the last dimension.

    PyTorch has no deterministic kernel for floats on a GPU, and refuses there while
    :func:`torch.use_deterministic_algorithms` is on: then :func:`doubled_sums` takes its place.
    """
    if (
        values.is_cuda
        and values.is_floating_point()
        and torch.are_deterministic_algorithms_enabled()
    ):
        return doubled_sums(values)
    return values.cumsum(-1)


def doubled_sums(values: Tensor) -> Tensor:
    """The same in a fixed order: each round adds the sums that end twice as far back.

    In float64, so that sums which are equal in exact arithmetic are equal when they are rounded.
    """
    sums, step = values.double(), 1
    while step < values.shape[-1]:
        sums = torch.cat([sums[..., :step], sums[..., step:] + sums[..., :-step]], -1)
        step *= 2
    return sums.to(values.dtype)
