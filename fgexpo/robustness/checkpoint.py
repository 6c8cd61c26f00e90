"""Checkpoints that survive a kill while they are written, and that load without running code.

A file is written beside its final name, flushed to disk and renamed. A directory, as a sharding
strategy writes it, counts once it holds a marker, which is written after everything else.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ..errors import UserError
from ..files import sync_folder, sync_tree, whole_file
from ..heartbeat import beat

MARKER = "complete"
PATTERN = "step=*.ckpt"
# Errors of zipfile, depending on which byte is damaged: names, flags, versions, offsets.
UNREADABLE = (
    *(OSError, EOFError, zipfile.BadZipFile, ValueError, RuntimeError, struct.error),
    *(pickle.UnpicklingError, KeyError),
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own staging directory may be on another filesystem: its move is not atomic."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write, fsync and rename within one directory."""
        with (
            whole_file(path) as partial,
            io.BufferedWriter(_BeatingFile(partial, "wb")) as file,
        ):
            torch.save(checkpoint, file)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load tensors and plain values only; never unpickle code, whatever the caller asks for."""
        return super().load_checkpoint(path, map_location, weights_only=True)


class _BeatingFile(io.FileIO):
    """A slow disk is not a hang: every piece written counts as progress."""

    def write(self, data: Any) -> int | None:
        beat()
        return super().write(data)


def commit_folder(folder: Path) -> None:
    """Mark a checkpoint that is a directory as complete, after all of it is on disk."""
    sync_tree(folder)
    (folder / MARKER).touch()
    sync_folder(folder)


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end and every byte is still as it was written."""
    if path.is_dir():
        return (path / MARKER).is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
            # torch sets no attributes, and would take some for those of a folder.
            if any(record.external_attr for record in archive.infolist()):
                return False
        # A damaged archive directory may look like another one, in which a record is missing.
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE:
        return False
    return True


def by_age(paths: Iterable[Path]) -> list[Path]:
    """Oldest first, by time and not by step: a run may have resumed from an earlier step."""
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))


def newest_complete(paths: Iterable[Path]) -> tuple[Path | None, list[Path]]:
    """The newest complete checkpoint, and the newer ones that are not complete."""
    torn = []
    for path in reversed(by_age(paths)):
        if is_complete(path):
            return path, torn
        torn.append(path)
    return None, torn


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without running any code from it.

    Raises:
        UserError: when the file is missing, incomplete, or not written by this project.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--ckpt_path: checkpoint {str(path)!r} does not exist")
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"--ckpt_path: {str(path)!r} is incomplete or not a checkpoint; --ckpt_path=last finds "
            "the newest complete one"
        )
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if "fgexpo" not in checkpoint:
        raise UserError(f"--ckpt_path: {str(path)!r} is not a checkpoint of fgexpo")
    return checkpoint
