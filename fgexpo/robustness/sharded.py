"""Checkpoints that every process writes its own part of, while training goes on.

Training waits for a copy of the process's slices in host memory. A thread then writes them. The
first process's thread waits until all parts are on disk, writes the marker and gives the folder its
name, so that a checkpoint is complete or not there at all, whichever process dies when. At most one
save is in flight. The processes tell each other of failures at the ends of steps.
"""

import io
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..errors import EnvironmentFailure
from ..files import beside, exchange, sync_folder, write_text
from ..heartbeat import PATIENT, beat, phase
from ..outside import reading
from ..parallel.collectives import largest, on_first, raise_together
from ..parallel.slices import Slice, take_apart
from .checkpoint import NO_ROOM, free_bytes, no_room
from .content import COMMON, commit_folder
from .order import ORDER, Order
from .shards import check_types, shard_name, write_shard

_LOOK_SECONDS = 0.05
# After an error the parts that have not grown for so long will not come any more.
GIVE_UP_SECONDS = 60.0
_DONE, _RUNNING, _FAILED = range(3)
_ABANDONED = EnvironmentFailure("another process could not write its part of the checkpoint")


@dataclass
class _Save:
    """A save in flight, as one process sees it.

    Attributes:
        path: of the checkpoint.
        partial: the folder while it is written.
        rank: of this process.
        world_size: number of processes.
        common: what is not cut up; the first process alone writes it.
        wanted: bytes of all processes together.
        note: the checkpoint's place in the order.
        leaving: the process ends; do not wait for others for long.
        abandoned: another process could not write its part.
        watched: training waits for it, so what it writes is progress.
        failed: why it has failed.
    """

    path: Path
    partial: Path
    rank: int
    world_size: int
    common: bytes
    wanted: int
    note: str
    leaving: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    watched: threading.Event = field(default_factory=threading.Event)
    failed: Exception | None = None

    def progress(self) -> None:
        """Count as progress only while somebody waits: else a hang of the training would hide."""
        if self.abandoned.is_set():
            raise _ABANDONED
        if self.watched.is_set():
            beat()


class ShardedSaver:
    """Saves in the background, one at a time.

    Args:
        committed: called with each checkpoint that is complete, in the first process's thread.
    """

    def __init__(self, committed: Callable[[Path], None]) -> None:
        self._committed = committed
        self._stage: dict[str, Tensor] = {}
        self._save: _Save | None = None
        self._thread: threading.Thread | None = None

    def begin(self, trainer: Trainer, state: dict[str, Any], path: Path) -> None:
        """Copy the state and start to write it; all processes enter together.

        Args:
            trainer: its processes each have their slices.
            state: as Lightning makes it, its sharded tensors in slices.
            path: of the checkpoint.

        Raises:
            EnvironmentFailure: on all processes, when the disk has no room for it.
            UserError: the same, when a tensor has a dtype that shards cannot hold.
        """
        assert self._save is None, "a save is in flight"
        note = Order(**state[ORDER]).text()
        plain, slices = take_apart({key: value for key, value in state.items() if key != ORDER})
        common = io.BytesIO()
        if trainer.is_global_zero:
            torch.save(plain, common)
        check_types(slices)
        wanted = len(common.getvalue()) + sum(map(_bytes_of, slices.values()))
        partial = beside(path)

        def make_room() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if wanted > free_bytes(path.parent):
                raise no_room(path, wanted)
            partial.mkdir()

        on_first(trainer, make_room)
        partial = Path(trainer.strategy.broadcast(partial))
        rank, world_size = trainer.global_rank, trainer.world_size
        save = _Save(path, partial, rank, world_size, common.getvalue(), wanted, note)
        # Not a daemon: at the end of the process it writes to the end.
        work = (save, self._staged(slices), self._committed)
        self._thread = threading.Thread(target=_run, args=work, name="save")
        self._thread.start()
        self._save = save

    def _staged(self, slices: dict[str, Slice]) -> dict[str, Slice]:
        """Copies in host memory, which the next save uses again: fresh memory takes longer."""
        fresh = {}
        for name, each in slices.items():
            copy = self._stage.get(name)
            if copy is None or (copy.shape, copy.dtype) != (each.rows.shape, each.rows.dtype):
                copy = torch.empty_like(
                    each.rows, device="cpu", memory_format=torch.contiguous_format
                )
            fresh[name] = copy.copy_(each.rows)
            beat()
        self._stage = fresh
        return {name: replace(each, rows=fresh[name]) for name, each in slices.items()}

    def look(self, trainer: Trainer) -> None:
        """At the end of a step: forget a save that is done; all processes enter together.

        Raises:
            EnvironmentFailure: on all processes, when one of them could not write.
            OSError: the same, for what the system says otherwise.
        """
        if self._save is None:
            return
        assert self._thread is not None
        own = _RUNNING if self._thread.is_alive() else _DONE
        state = largest(trainer, own if self._save.failed is None else _FAILED)
        if state == _FAILED:
            save, self._save = self._save, None
            save.abandoned.set()
            self._thread.join()
            try:
                raise_together(trainer, save.failed if save.failed is not _ABANDONED else None)
            finally:
                if trainer.is_global_zero:
                    shutil.rmtree(save.partial, ignore_errors=True)
        if state == _DONE:
            self._save = None

    def finish(self, trainer: Trainer) -> None:
        """Wait until the save in flight is complete; all processes enter together.

        Raises:
            EnvironmentFailure: as for :meth:`look`.
            OSError: the same.
        """
        while self._save is not None:
            with phase("save", PATIENT):
                # A part that fails elsewhere is told at the look.
                self._wait(1.0)
            self.look(trainer)

    def close(self) -> None:
        """This process ends by an error: write its part to the end, and commit if all do."""
        if self._save is not None:
            self._save.leaving.set()
            with phase("save", PATIENT):
                self._wait(None)
            self._save = None

    def _wait(self, seconds: float | None) -> None:
        assert self._save is not None and self._thread is not None
        self._save.watched.set()
        self._thread.join(seconds)
        self._save.watched.clear()


def _bytes_of(each: Slice) -> int:
    """Of the whole tensor."""
    return each.rows.element_size() * torch.Size(each.shape).numel()


def _run(save: _Save, slices: dict[str, Slice], committed: Callable[[Path], None]) -> None:
    try:
        _write(save, slices)
        if save.rank == 0 and _commit(save):
            committed(save.path)
    except OSError as error:
        full = error.errno in NO_ROOM
        save.failed = no_room(save.path, save.wanted, error) if full else error
    except Exception as error:
        save.failed = error  # raised where training waits or looks


def _write(save: _Save, slices: dict[str, Slice]) -> None:
    name = shard_name(save.rank, save.world_size)
    written = {}
    if save.rank == 0:
        with (save.partial / COMMON).open("wb") as file:
            file.write(save.common)
            file.flush()
            os.fsync(file.fileno())
        written[COMMON] = [len(save.common), zlib.crc32(save.common)]
        save.common = b""
    written[name] = write_shard(save.partial / name, slices, save.progress)
    write_text(_note_of(save, save.rank), json.dumps(written))


def _note_of(save: _Save, rank: int) -> Path:
    """What a process leaves beside its part once that is on disk."""
    return save.partial / f"{shard_name(rank, save.world_size)}.json"


def _commit(save: _Save) -> bool:
    """Wait for all parts, then mark the folder as complete and give it its name."""
    known: dict[str, list[int]] = {}
    came, size = time.monotonic(), _bytes_from(save, 0)
    for rank in range(save.world_size):
        note = _note_of(save, rank)
        while not note.exists():
            save.progress()
            if save.leaving.is_set() and time.monotonic() - came > GIVE_UP_SECONDS:
                # A slow disk, or processes that have died?
                before, size = size, _bytes_from(save, rank)
                if size == before:
                    return False
                came = time.monotonic()
            time.sleep(_LOOK_SECONDS)
        came, size = time.monotonic(), _bytes_from(save, rank + 1)
        with reading(note, "the note of a checkpoint's shard"):
            known |= json.loads(note.read_text())
        note.unlink()
    commit_folder(save.partial, save.note, known)
    exchange(save.partial, save.path)
    sync_folder(save.path.parent)
    return True


def _bytes_from(save: _Save, rank: int) -> int:
    """Of the parts of this and all further ranks, as far as they are written."""
    size = 0
    for each in range(rank, save.world_size):
        part = save.partial / shard_name(each, save.world_size)
        # One that is not begun has no bytes. Opened, since the size that a network's filesystem
        # tells may otherwise be that of a minute ago.
        with suppress(FileNotFoundError), part.open("rb") as file:
            size += os.fstat(file.fileno()).st_size
    return size
