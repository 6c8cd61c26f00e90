"""The one way to open a checkpoint: every byte is as it was written, and no code is run.

A checkpoint is a file as ``torch.save`` writes it, whose records carry a checksum each, or a folder
with a manifest of sizes and checksums: what is common to all processes, as ``torch.save`` writes
it, and each one's slices (:mod:`.shards`). Checking reads it once, at about the speed of the disk,
a folder's files side by side; a process does not check the same file twice.
"""

import errno
import json
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import UserError
from ..files import sync_folder, sync_tree, write_text
from ..heartbeat import beat
from ..outside import reading
from ..parallel.slices import put_back
from .shards import SUFFIX, read_shards

MARKER, COMMON = "complete", "common.pt"
_PIECE = 1 << 22
_Signature = tuple[int, ...]
# Checked by this process: a file that changes, or is replaced, has another signature.
_checked: set[_Signature] = set()
_sums: dict[_Signature, list[int]] = {}
# Threads that check one folder: about as many as keep a disk busy.
_THREADS = 8


def load(path: str | Path, map_location: Any = "cpu", mmap: bool = True) -> dict[str, Any]:
    """Check a checkpoint's content and load tensors and plain values from it; never run its code.

    Args:
        path: a file or a folder; of a folder, tensors in slices are left on disk, as
            :class:`~fgexpo.parallel.slices.Slices`.
        map_location: as for ``torch.load``.
        mmap: leave tensors on disk until they are used.

    Raises:
        UserError: when a byte has changed, a part is missing, or it is no checkpoint.
    """
    path = Path(path)
    check(path)
    if path.is_dir():
        return _load_folder(path, map_location)
    with reading(path, "a checkpoint", "--ckpt_path"):
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)


def check(path: Path) -> None:
    """Check that a checkpoint was written to its end and every byte is still as it was written.

    Raises:
        UserError: when it is not.
        OSError: when the machine does not let it be read.
    """
    why = "it is neither a file nor a folder"
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        why = _fault_of_folder(path)
    elif stat.S_ISREG(found.st_mode):
        signature = _signature(found)
        why = "" if signature in _checked else _fault_of_file(path)
        if not why:
            _checked.add(signature)
    if why:
        raise UserError(
            f"--ckpt_path: {str(path)!r} is incomplete or not a checkpoint; --ckpt_path=last finds "
            f"the newest complete one ({why})"
        )


def _load_folder(path: Path, map_location: Any) -> dict[str, Any]:
    # Only what the manifest names was checked.
    names = [name for name in _manifest(path)["files"] if name.endswith(SUFFIX)]
    slices = read_shards(path / name for name in sorted(names))
    with reading(path, "a checkpoint", "--ckpt_path"):
        plain = torch.load(path / COMMON, map_location=map_location, weights_only=True)
        return put_back(plain, slices)


def fault(path: Path) -> str | None:
    """What keeps a checkpoint from being opened, in a few words; None when nothing does."""
    try:
        check(path)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{str(path)!r} cannot be read: {error.strerror}"
    return None


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end and every byte is still as it was written."""
    return fault(path) is None


def commit_folder(
    folder: Path, note: str = "", known: Mapping[str, list[int]] | None = None
) -> None:
    """Mark a checkpoint that is a directory as complete, after all of it is on disk.

    Args:
        folder: the checkpoint.
        note: a text to keep in the marker, see :func:`read_note`.
        known: sizes and checksums of the files whose writers have told them; the others are read.

    Raises:
        OSError: when a file has not the size that its writer has told.
    """
    sync_tree(folder)
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MARKER:
            name = str(path.relative_to(folder))
            files[name] = (known or {}).get(name) or _size_and_checksum(path)
            if path.stat().st_size != files[name][0]:
                raise OSError(errno.EIO, "not all that was written is there", str(path))
    write_text(folder / MARKER, json.dumps({"files": files, "note": note}))
    sync_folder(folder)


def read_note(folder: Path) -> str:
    """The text in the marker of a checkpoint that is a directory; empty in older ones.

    Raises:
        UserError: when the marker cannot be read.
    """
    return _manifest(folder)["note"]


def _fault_of_folder(folder: Path) -> str:
    if not (folder / MARKER).is_file():
        return f"it has no file {MARKER!r}, which is written last"
    if all(path.name == MARKER for path in folder.iterdir()):
        return "it is empty"
    files = _manifest(folder)["files"]
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        return f"{missing[0]} is missing"
    # A file of another length need not be read.
    other = [name for name in files if (folder / name).stat().st_size != files[name][0]]
    if not other:
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(_known_sum, (folder / name for name in files))
            other = [name for name, sum_ in zip(files, found, strict=True) if sum_ != files[name]]
    return f"{other[0]} is not as it was written" if other else ""


def _known_sum(path: Path) -> list[int]:
    found = path.stat()
    signature = _signature(found)
    if signature in _sums:
        return _sums[signature]
    sum_ = _size_and_checksum(path)
    # Right after a change, another one may leave the same times.
    if time.time() - found.st_ctime > 2:
        _sums[signature] = sum_
    return sum_


def _signature(found: os.stat_result) -> _Signature:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _manifest(folder: Path) -> dict[str, Any]:
    with reading(folder / MARKER, "a checkpoint's manifest", "--ckpt_path"):
        text = (folder / MARKER).read_text()
        # Before there were manifests the marker was empty.
        found = dict(json.loads(text)) if text else {}
        return {
            "files": {str(name): list(sum_) for name, sum_ in found.get("files", {}).items()},
            "note": str(found.get("note", "")),
        }


def _size_and_checksum(path: Path) -> list[int]:
    with path.open("rb") as file:
        checksum = _checksum(file)
    return [path.stat().st_size, checksum]


def _fault_of_file(path: Path) -> str:
    with reading(path, "a checkpoint", "--ckpt_path"):
        if not zipfile.is_zipfile(path):
            return "its end is missing"
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                # torch packs nothing and sets no attributes, and would take some for a folder's.
                if record.compress_type != zipfile.ZIP_STORED or record.external_attr & 0xFFFF:
                    return f"record {record.filename!r} is not as it was written"
                with archive.open(record) as file:
                    _checksum(file)  # zipfile compares it with the one that was written
        # A damaged archive directory may look like another one, in which a record is missing.
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return ""


def _checksum(file: BinaryIO | Any) -> int:
    checksum = 0
    for piece in iter(partial(file.read, _PIECE), b""):
        checksum = zlib.crc32(piece, checksum)
        beat()
    return checksum
