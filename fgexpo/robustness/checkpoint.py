"""Checkpoints that survive a kill or a full disk while they are written.

A file is written beside its final name, flushed to disk and renamed. What opens it again is in
:mod:`.content`, and which is the newest in :mod:`.order`.
"""

import errno
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from ..errors import EnvironmentFailure, UserError
from ..files import whole_file
from ..heartbeat import beat
from ..parallel.slices import made_whole
from .content import commit_folder, is_complete, load
from .order import ORDER, PATTERN, Order, add_order, by_age, newest_complete

__all__ = [
    "PATTERN",
    "AtomicCheckpointIO",
    "by_age",
    "commit_folder",
    "is_complete",
    "newest_complete",
    "read_checkpoint",
]

OPTIMIZERS = "optimizer_states"
# What the system says when a disk, a quota or a limit is full.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own staging directory may be on another filesystem: its move is not atomic."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write, fsync and rename within one directory.

        Raises:
            EnvironmentFailure: when the disk has no room for it; nothing is left of the try, and
                older checkpoints stay.
        """
        path = Path(path)
        content = {name: value for name, value in checkpoint.items() if name != ORDER}
        wanted = size_of(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        if wanted > free_bytes(path.parent):
            raise no_room(path, wanted)
        with whole_file(path) as partial:
            try:
                _write(content, partial)
                if ORDER in checkpoint:
                    add_order(partial, Order(**checkpoint[ORDER]))
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                raise no_room(path, wanted, error) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, _: storage,
        weights_only: bool | None = None,
        whole: bool = True,
    ) -> dict[str, Any]:
        """Load tensors and plain values only; never unpickle code, whatever the caller asks for.

        With ``whole`` false, what lies in slices is left on disk, as :class:`Slices`.
        """
        state = load(path, map_location, mmap=False)
        if not whole:
            return state
        # An evaluation asks for no optimizer, whose state is twice as large as the weights.
        later = {OPTIMIZERS: _Later(state.pop(OPTIMIZERS))} if OPTIMIZERS in state else {}
        return made_whole(state) | later


class _Later(Sequence[Any]):
    """States that are put together when they are asked for."""

    def __init__(self, states: Sequence[Any]) -> None:
        self._states = states

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, number: Any) -> Any:
        return made_whole(self._states[number])


class _BeatingFile(io.FileIO):
    """A slow disk is not a hang: every piece written counts as progress."""

    error: OSError | None = None

    def write(self, data: Any) -> int | None:
        """Write bytes, beat, and keep the first error, which torch would hide."""
        beat()
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def _write(content: dict[str, Any], path: Path) -> None:
    raw = _BeatingFile(path, "wb")
    try:
        with io.BufferedWriter(raw) as file:
            torch.save(content, file)
    except (RuntimeError, OSError):
        if raw.error is not None:
            # torch only says that the file is not as long as it should be ("unexpected pos").
            raise raw.error from None
        raise
    finally:
        raw.close()


def size_of(content: Any) -> int:
    """Bytes of the tensors and texts in a nested state; a storage that is shared counts once."""
    return sum(dict(_pieces(content)).values())


def _pieces(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()
    elif isinstance(value, str | bytes):
        yield id(value), len(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _pieces(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _pieces(item)


def free_bytes(folder: Path) -> int:
    """Of the disk that this folder is on."""
    return shutil.disk_usage(folder).free


def no_room(path: Path, wanted: int, error: OSError | None = None) -> EnvironmentFailure:
    """The sentence of a disk on which a checkpoint had no room, or would have none.

    Args:
        path: of the checkpoint.
        wanted: its bytes.
        error: one of :data:`NO_ROOM`, when it was tried.
    """
    why = os.strerror(errno.ENOSPC if error is None else error.errno or errno.ENOSPC)
    return EnvironmentFailure(
        f"checkpoint {str(path)!r} was not saved ({why}): it wants {wanted / 1e6:,.1f} MB and "
        f"{free_bytes(path.parent) / 1e6:,.1f} MB are free; older checkpoints stay; free some "
        "space and resume with --ckpt_path=last"
    )


def read_checkpoint(path: str | Path, whole: bool = True) -> dict[str, Any]:
    """Load a checkpoint of this project onto the CPU, see :func:`.content.load`.

    Args:
        path: a file, or a folder that the processes of a run have written together.
        whole: put slices together; else leave them on disk, as :class:`Slices`.

    Raises:
        UserError: when it is missing, damaged, or not written by this project.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"--ckpt_path: checkpoint {str(path)!r} does not exist")
    checkpoint = load(path)
    if "fgexpo" not in checkpoint:
        raise UserError(f"--ckpt_path: {str(path)!r} is not a checkpoint of fgexpo")
    return made_whole(checkpoint) if whole else checkpoint
