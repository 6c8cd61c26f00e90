"""Where a run's files go, and how they are written: complete and flushed to disk, or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """The logger's folder of this run, the same on all processes.

    The processes agree on it together, so call it where all of them do: in ``setup``.
    """
    return Path(trainer.log_dir or trainer.default_root_dir)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename the file to ``path`` once it is on disk.

    Without the flush, a power cut may leave the name without the content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; replace ``path`` by it when done."""
    path = Path(path)
    partial = _partial(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_tree(partial)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(path.parent)


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: str | Path, content: str) -> None:
    """Write a text file."""
    with whole_file(path) as partial:
        partial.write_text(content)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush everything in a folder to disk, including its subfolders."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _partial(path: Path) -> Path:
    # Named after the process, so that two processes never write into each other's file.
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
