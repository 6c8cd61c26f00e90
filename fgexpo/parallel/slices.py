"""A sharded run's tensors in slices: taken out of its state, put back by any number of processes.

FSDP2 cuts every tensor up by rows, so a process holds rows ``start`` to ``stop`` of each. A save
takes these out of the nested state and leaves their names behind. A load finds :class:`Slices` in
their places, of which each process reads only the rows that it holds then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

# A tensor's place in a state without slices: a mapping with this one key.
PLACE = "fgexpo slices"


@dataclass(frozen=True)
class Slice:
    """The rows of a tensor that one process holds.

    Attributes:
        rows: of the tensor, [stop - start, ...].
        start: number of the first one.
        shape: of the whole tensor.
    """

    rows: Tensor
    start: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Slices:
    """A whole tensor that was saved in slices; nothing is read before it is asked for.

    Attributes:
        shape: of the whole tensor.
        dtype: of its numbers.
        parts: in order and without gaps, the first row of each and a reader of its own rows from
            one number to another.
    """

    shape: torch.Size
    dtype: torch.dtype
    parts: tuple[tuple[int, Callable[[int, int], Tensor]], ...]

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` in the host's memory, from however many slices."""
        found = []
        ends = [first for first, _ in self.parts[1:]] + [self.shape[0]]
        for (first, read), end in zip(self.parts, ends, strict=True):
            low, high = max(start, first), min(stop, end)
            if low < high:
                found.append(read(low - first, high - first))
        if len(found) == 1:
            return found[0]
        return torch.cat(found) if found else torch.empty((0, *self.shape[1:]), dtype=self.dtype)

    def whole(self) -> Tensor:
        """All rows."""
        return self.rows(0, self.shape[0])

    def cut_as(self, weight: DTensor) -> DTensor:
        """The tensor in slices as this weight's, of the same shape; nothing is sent."""
        start, stop = rows_of(weight)
        # A copy: what was read may lie in the file itself, which is going to be removed.
        local = self.rows(start, stop).to(weight.to_local().device, copy=True)
        return DTensor.from_local(
            local,
            weight.device_mesh,
            weight.placements,
            run_check=False,
            shape=weight.shape,
            stride=weight.stride(),
        )


def rows_of(tensor: DTensor) -> tuple[int, int]:
    """Which rows of a sharded tensor this process holds."""
    assert tensor.placements == (Shard(0),), f"not cut by rows: {tensor.placements}"
    mesh, count = tensor.device_mesh, tensor.shape[0]
    each = -(-count // mesh.size())
    start = min(each * mesh.get_local_rank(), count)
    stop = min(start + each, count)
    assert tensor.to_local().shape[0] == stop - start
    return start, stop


def take_apart(state: Any) -> tuple[Any, dict[str, Slice]]:
    """Separate a nested state from the sharded tensors in it.

    Returns:
        The state with a place for each of them, other tensors in the host's memory; and this
        process's slices by name. Two names of one tensor share a slice.
    """
    slices: dict[str, Slice] = {}
    names: dict[tuple[Any, ...], str] = {}

    def visit(value: Any, name: str) -> Any:
        if isinstance(value, DTensor):
            start, stop = rows_of(value)
            rows = value.to_local().detach()
            # The first process holds rows of every tensor, and its names are the ones that count.
            same = (rows.data_ptr(), rows.dtype, value.shape) if stop > start else (name,)
            if same not in names:
                names[same] = name
                slices[name] = Slice(rows, start, tuple(value.shape))
            return {PLACE: names[same]}
        if isinstance(value, Tensor):
            return value.detach().cpu()
        if isinstance(value, Mapping):
            return {key: visit(item, f"{name}/{key}".lstrip("/")) for key, item in value.items()}
        if isinstance(value, list | tuple):
            items = [visit(item, f"{name}/{number}") for number, item in enumerate(value)]
            return tuple(items) if isinstance(value, tuple) else items
        return value

    return visit(state, ""), slices


def put_back(state: Any, tensors: Mapping[str, Any]) -> Any:
    """A state from :func:`take_apart`, with what has each name in its place.

    Raises:
        KeyError: when a name is missing.
    """
    if isinstance(state, dict):
        if state.keys() == {PLACE}:
            return tensors[state[PLACE]]
        return {key: put_back(item, tensors) for key, item in state.items()}
    if isinstance(state, list | tuple):
        items = [put_back(item, tensors) for item in state]
        return tuple(items) if isinstance(state, tuple) else items
    return state


def made_whole(state: Any) -> Any:
    """A state whose slices are whole tensors in the host's memory."""
    if isinstance(state, Slices):
        return state.whole()
    if isinstance(state, dict):
        return {key: made_whole(item) for key, item in state.items()}
    if isinstance(state, list | tuple):
        items = [made_whole(item) for item in state]
        return tuple(items) if isinstance(state, tuple) else items
    return state
