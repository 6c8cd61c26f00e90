"""Reads which steps a run has already written to the files of Weights & Biases.

A run without a network leaves one ``run-ID.wandb`` for each of its starts. It is a log of records
in the format of LevelDB: a head of seven bytes, then blocks of 32 KiB, in which each chunk has a
checksum (4 bytes, of the kind and the content), its length (2) and its kind (1). The package itself
offers no reader.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..outside import reading

_HEAD, _BLOCK, _CHUNK = 7, 32768, 7
_WHOLE, _FIRST, _LAST = 1, 2, 4


class Row(NamedTuple):
    """What one call of ``wandb.log`` wrote: its number, its tags, and the value of its x-axis."""

    number: int
    tags: list[str]
    step: int | None


def read_rows(paths: Iterable[Path], axis: str) -> list[Row]:
    """All rows of these files; what was half written at a kill or a power cut is left out.

    Args:
        paths: files ``run-ID.wandb``.
        axis: the tag that holds the step.

    Raises:
        UserError: when one is not such a file.
    """
    rows = []
    for path in paths:
        with reading(path, "a run's file of Weights & Biases"):
            rows += _rows(path.read_bytes(), axis)
    return rows


def _rows(content: bytes, axis: str) -> Iterator[Row]:
    from wandb.proto import wandb_internal_pb2

    record: Any = wandb_internal_pb2.Record()  # pyright: ignore[reportAttributeAccessIssue]
    for message in messages(content):
        record.ParseFromString(message)
        if record.WhichOneof("record_type") == "history":
            # A picture's or a table's parts are items too, such as ["completions", "size"].
            items = record.history.item
            values = {item.key or item.nested_key[0]: item.value_json for item in items}
            step = int(float(values[axis])) if axis in values else None
            number = int(values["_step"]) if "_step" in values else record.history.step.num
            yield Row(number, list(values), step)


def messages(content: bytes) -> Iterator[bytes]:
    """The records of such a file, each as the bytes of a message.

    A power cut can leave the last records at their full length with other bytes. They end the file.

    Raises:
        ValueError: when a whole record follows one that is damaged.
    """
    at, message, whole, torn = _HEAD, b"", True, False
    while at + _CHUNK <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _CHUNK:  # too short for a chunk, so the rest of the block is empty
            at += left
            continue
        checksum, length, kind = struct.unpack("<IHB", content[at : at + _CHUNK])
        end = at + _CHUNK + length
        if end > len(content) or not kind:
            return
        if kind in (_WHOLE, _FIRST):
            message, whole = b"", True
        message += content[at + _CHUNK : end]
        whole = whole and zlib.crc32(content[at + _CHUNK - 1 : end]) == checksum
        torn = torn or not whole
        if kind in (_WHOLE, _LAST) and whole:
            if torn:
                raise ValueError("a record has another checksum, and whole ones follow it")
            yield message
        at = end
