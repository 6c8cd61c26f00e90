"""Checkpoints that are whole or absent: written beside their place, synced, then renamed."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from .errors import UserError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own staging directory may lie on another filesystem, where a move can tear."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write, fsync and rename within one directory."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load tensors and plain values only: whatever was asked for, no code is unpickled."""
        return super().load_checkpoint(path, map_location, weights_only=True)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without running any code from it.

    Raises:
        UserError: when the file is missing or was not written by this project.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--ckpt_path: checkpoint {str(path)!r} does not exist")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if "fgexpo" not in checkpoint:
        raise UserError(f"--ckpt_path: {str(path)!r} is not a checkpoint of fgexpo")
    return checkpoint
