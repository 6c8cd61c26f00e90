"""The one way to open a checkpoint: every byte is as it was written, and no code is run.

A checkpoint is a file as ``torch.save`` writes it, whose records carry a checksum each, or a
directory, as a sharding strategy writes it, with a manifest of sizes and checksums. Checking reads
it once, at about the speed of the disk; a process does not check the same file twice.
"""

import json
import stat
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import UserError
from ..files import sync_folder, sync_tree, write_text
from ..heartbeat import beat
from ..outside import reading

MARKER = "complete"
_PIECE = 1 << 22
_Signature = tuple[int, ...]
# Checked by this process: a file that changes, or is replaced, has another signature.
_checked: set[_Signature] = set()


def load(path: str | Path, map_location: Any = "cpu", mmap: bool = True) -> dict[str, Any]:
    """Check a checkpoint's content and load tensors and plain values from it; never run its code.

    Args:
        path: a file.
        map_location: as for ``torch.load``.
        mmap: leave tensors on disk until they are used.

    Raises:
        UserError: when a byte has changed, a part is missing, or it is no checkpoint.
    """
    check(Path(path))
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
        signature = (
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
        )
        why = "" if signature in _checked else _fault_of_file(path)
        if not why:
            _checked.add(signature)
    if why:
        raise UserError(
            f"--ckpt_path: {str(path)!r} is incomplete or not a checkpoint; --ckpt_path=last finds "
            f"the newest complete one ({why})"
        )


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


def commit_folder(folder: Path, note: str = "") -> None:
    """Mark a checkpoint that is a directory as complete, after all of it is on disk.

    Args:
        folder: the checkpoint.
        note: a text to keep in the marker, see :func:`read_note`.
    """
    sync_tree(folder)
    files = {
        str(path.relative_to(folder)): _size_and_checksum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MARKER
    }
    write_text(folder / MARKER, json.dumps({"files": files, "note": note}))
    sync_folder(folder)


def read_note(folder: Path) -> str:
    """The text in the marker of a checkpoint that is a directory; empty in older ones.

    Raises:
        UserError: when the marker cannot be read.
    """
    return str(_manifest(folder).get("note", ""))


def _fault_of_folder(folder: Path) -> str:
    if not (folder / MARKER).is_file():
        return f"it has no file {MARKER!r}, which is written last"
    if all(path.name == MARKER for path in folder.iterdir()):
        return "it is empty"
    for name, expected in _manifest(folder).get("files", {}).items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _size_and_checksum(path) != expected:
            return f"{name} is not as it was written"
    return ""


def _manifest(folder: Path) -> dict[str, Any]:
    with reading(folder / MARKER, "a checkpoint's manifest", "--ckpt_path"):
        text = (folder / MARKER).read_text()
        # Before there were manifests the marker was empty.
        return dict(json.loads(text)) if text else {}


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
