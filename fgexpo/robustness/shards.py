"""Shards of a checkpoint that is a folder: safetensors files, one for each process.

A file's header says of every tensor in it which rows of which whole tensor it is. So any number of
processes can read any rows, other tools can open the files, and nothing is unpickled, which
``torch.distributed.checkpoint``'s own index would be. They are written here and not by the library,
which would hold the tensors twice; the checksum is made of the bytes on their way to the disk.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import UserError
from ..outside import reading
from ..parallel.slices import Slice, Slices

SUFFIX = ".safetensors"
_ROWS = "fgexpo_rows"
_PIECE = 1 << 22
# Between two flushes: what the disk still has to take is then never much, nor is the last flush.
_FLUSH = 1 << 28
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def shard_name(rank: int, world_size: int) -> str:
    """The file of one process."""
    return f"shard-{rank:05d}-of-{world_size:05d}{SUFFIX}"


def check_types(slices: Mapping[str, Slice]) -> None:
    """Refuse what a shard cannot hold.

    Raises:
        UserError: for a tensor of a rare dtype.
    """
    for name, each in slices.items():
        if each.rows.dtype not in _TYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _TYPES)
            raise UserError(
                f"checkpoint.sharded: true cannot save tensor {name!r} of dtype "
                f"{str(each.rows.dtype).removeprefix('torch.')}, only {known}; set it to false"
            )


def write_shard(path: Path, slices: Mapping[str, Slice], progress: Callable[[], None]) -> list[int]:
    """Write one process's slices and flush them to disk.

    Args:
        path: the file.
        slices: by name, contiguous and in the host's memory.
        progress: called after every few megabytes; what it raises ends the writing.

    Returns:
        The file's size and checksum, for the manifest.

    Raises:
        OSError: when the disk is full, or anything else of the system's.
    """
    # The widest numbers first, so that each tensor begins at a multiple of its numbers' width.
    held = [(name, each) for name, each in slices.items() if each.rows.numel()]
    held.sort(key=lambda item: -item[1].rows.element_size())
    size = checksum = unflushed = 0
    with path.open("wb", buffering=0) as file:
        for data in (_header(held), *(_bytes(each.rows) for _, each in held)):
            for start in range(0, len(data), _PIECE):
                piece = data[start : start + _PIECE]
                checksum = zlib.crc32(piece, checksum)
                while piece:
                    written = file.write(piece)
                    size, unflushed, piece = size + written, unflushed + written, piece[written:]
                if unflushed >= _FLUSH:
                    os.fsync(file.fileno())
                    unflushed = 0
                progress()
        os.fsync(file.fileno())
    return [size, checksum]


def _header(held: list[tuple[str, Slice]]) -> memoryview:
    entries: dict[str, Any] = {}
    end = 0
    for name, each in held:
        start, end = end, end + each.rows.nbytes
        entries[name] = {
            "dtype": _TYPES[each.rows.dtype],
            "shape": list(each.rows.shape),
            "data_offsets": [start, end],
        }
    rows = {name: [each.start, list(each.shape)] for name, each in held}
    entries["__metadata__"] = {"format": "pt", _ROWS: json.dumps(rows)}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _bytes(rows: torch.Tensor) -> memoryview:
    flat: Any = rows.reshape(-1).view(torch.uint8).numpy()
    return memoryview(flat)


def read_shards(paths: Iterable[Path]) -> dict[str, Slices]:
    """The whole tensors that lie in these files, by name; their rows are read when asked for.

    Raises:
        UserError: for a file that is no such shard, or a tensor whose rows are not all there.
    """
    found: dict[str, list[tuple[int, Any, torch.Size]]] = {}
    place = Path()
    for place in paths:
        with reading(place, "a checkpoint's shard", "--ckpt_path"):
            file = safe_open(place, "pt")
            rows = json.loads((file.metadata() or {})[_ROWS])
            for name in file.keys():  # noqa: SIM118
                start, shape = rows[name]
                found.setdefault(name, []).append(
                    (int(start), file.get_slice(name), torch.Size(shape))
                )
    with reading(place.parent, "a checkpoint", "--ckpt_path"):
        return {
            name: _joined(f"{str(place.parent)!r}: tensor {name!r}", parts)
            for name, parts in found.items()
        }


def _joined(name: str, parts: list[tuple[int, Any, torch.Size]]) -> Slices:
    parts = sorted(parts, key=lambda part: part[0])
    shape, end = parts[0][2], 0
    for start, part, whole in parts:
        own = torch.Size(part.get_shape())
        if start != end or whole != shape or own[1:] != shape[1:]:
            raise UserError(f"--ckpt_path: {name} has rows missing or twice")
        end += own[0]
    if end != shape[0]:
        raise UserError(f"--ckpt_path: {name} lacks rows {end} to {shape[0]}")
    types = {short: dtype for dtype, short in _TYPES.items()}
    dtypes = {types[part.get_dtype()] for _, part, _ in parts}
    if len(dtypes) > 1:
        raise UserError(f"--ckpt_path: {name} has several dtypes")
    return Slices(shape, dtypes.pop(), tuple((start, _reader(part)) for start, part, _ in parts))


def _reader(part: Any) -> Callable[[int, int], torch.Tensor]:
    return lambda start, stop: part[start:stop]
