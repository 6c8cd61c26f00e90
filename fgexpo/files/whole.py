"""Files and folders that appear complete and flushed to disk, or not at all."""

import errno
import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from .lock import locked

# Names of what is being written, and of a folder that is being replaced.
PARTIAL = ".partial"
OLD = ".old"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename the file to ``path`` once it is on disk.

    Without the flush, a power cut may leave the name without the content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(path)
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
    """Yield a temporary folder beside ``path``; replace ``path`` by it when done.

    It holds the lock of ``path``, and removes what a killed process has left of its own try.

    Raises:
        UserError: when ``path`` is a file, or a mount point, which cannot be replaced.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_dir():
        raise UserError(f"{str(path)!r} is a file, and a folder is to be written there")
    if os.path.ismount(path):
        raise UserError(f"{str(path)!r} is a mount point; name a folder below it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, f"the folder {str(path)!r}", wait=True):
        _recover(path)
        partial = beside(path)
        partial.mkdir()
        try:
            yield partial
            sync_tree(partial)
            exchange(partial, path)
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


def exchange(partial: Path, path: Path) -> None:
    """Give a folder or file its name, in place of the folder or file that has it, which goes last.

    After a kill in the middle, :func:`put_back` mends what is there.
    """
    old = beside(path, OLD)
    try:
        os.rename(partial, path)  # replaces an empty folder too
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise
        # A kill between the two leaves the old one under another name; see put_back.
        path.rename(old)
        try:
            partial.rename(path)
        except OSError:
            old.rename(path)
            raise
        sync_folder(path.parent)
        remove(old)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def put_back(folder: Path, pattern: str) -> None:
    """Mend what a kill during :func:`exchange` has left: nothing is lost, and nothing hidden stays.

    The old one gets its name back where the new one has not got it, and is removed where it has.

    Args:
        folder: where the exchanges were; nobody else writes there.
        pattern: of the names that were exchanged.
    """
    for old in sorted(folder.glob(f".{pattern}.*{OLD}")):
        named = re.fullmatch(r"\.(.+)\.\d+-[0-9a-f]{8}" + re.escape(OLD), old.name)
        if named is None or not Path(named[1]).match(pattern):
            continue
        path = old.with_name(named[1])
        # On a filesystem without locks another process of the run may be as far.
        with suppress(FileNotFoundError):
            if path.exists() or path.is_symlink():
                remove(old)
            else:
                old.rename(path)


def _recover(path: Path) -> None:
    put_back(path.parent, glob.escape(path.name))
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)


def beside(path: Path, suffix: str = PARTIAL) -> Path:
    """A name for what is being written, in the folder of what it will be."""
    # No two processes write into each other's file, not even of two machines.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{suffix}")
