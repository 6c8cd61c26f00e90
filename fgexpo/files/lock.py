"""A lock that ends with its process, and that tells who holds it.

The kernel drops it when the process dies, however it dies, so there is no stale lock to clear. It
works between the machines that share a folder where their filesystem has ``flock``; on one that has
not, a warning says so, and nothing is locked.
"""

import errno
import fcntl
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import EnvironmentFailure
from ..heartbeat import beat

_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_POLL_SECONDS = 0.2
_LONGEST = 200

# Of this process, which may take a lock again that it holds: the descriptor, and how often taken.
_held: dict[Path, tuple[int, int]] = {}


class Lock:
    """A lock of its own file, which is there only while somebody holds the lock or waits for it.

    Args:
        file: the lock's file; its folder is made.
        what: what is locked, as in "the model folder 'x'", for messages.
    """

    def __init__(self, file: str | Path, what: str) -> None:
        self.file = Path(os.path.abspath(file))
        self.what = what
        self._taken = False

    def take(self, wait: bool = False) -> None:
        """Take it, unless this object has it.

        Args:
            wait: wait for another process, and say once for whom.

        Raises:
            EnvironmentFailure: when another process has it and ``wait`` is false; it names the
                process, its machine and since when.
        """
        if self._taken:
            return
        descriptor, times = _held.get(self.file, (-1, 0))
        if not times:
            descriptor = self._acquire(wait)
        _held[self.file] = descriptor, times + 1
        self._taken = True

    def release(self) -> None:
        """Give it back; nothing happens if this object does not have it."""
        if not self._taken:
            return
        self._taken = False
        descriptor, times = _held.pop(self.file)
        if times > 1:
            _held[self.file] = descriptor, times - 1
            return
        # First the name, so that whoever waits for this file sees that it is no longer the one.
        self.file.unlink(missing_ok=True)
        os.close(descriptor)

    def _acquire(self, wait: bool) -> int:
        said = False
        while True:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, _LONGEST).decode(errors="replace").strip()
                os.close(descriptor)
                sentence = f"{self.what} is in use by {holder or 'another process'}"
                if not wait:
                    raise EnvironmentFailure(
                        f"{sentence}; wait until it has ended, or choose another folder"
                    ) from None
                if not said:
                    print(f"{sentence}; waiting for it", flush=True)
                said = True
                beat()
                time.sleep(_POLL_SECONDS)
                continue
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    os.close(descriptor)
                    raise
                warnings.warn(
                    f"{self.file}: this filesystem has no locks ({error.strerror}), so see to it "
                    "that no other process writes there",
                    stacklevel=2,
                )
                return descriptor
            if _is_named(descriptor, self.file):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _myself().encode())
                return descriptor
            os.close(descriptor)  # the one before has just removed it


@contextmanager
def locked(path: str | Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file or folder that is about to be replaced; its file is beside it.

    Args:
        path: the file or folder.
        what: what it is, for messages.
        wait: wait for another process that holds it.

    Raises:
        EnvironmentFailure: when another process has it and ``wait`` is false.
    """
    path = Path(os.path.realpath(path))
    lock = Lock(path.with_name(f".{path.name}.lock"), what)
    lock.take(wait)
    try:
        yield
    finally:
        lock.release()


def is_locked(path: str | Path) -> bool:
    """Whether another process holds the lock that :func:`locked` takes of this file or folder."""
    path = Path(os.path.realpath(path))
    lock = Lock(path.with_name(f".{path.name}.lock"), str(path))
    try:
        lock.take()
    except EnvironmentFailure:
        return True
    lock.release()
    return False


def _is_named(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _myself() -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"


def _forget() -> None:
    # A fork shares the lock; without this one, a child that outlives its parent would keep it.
    for descriptor, _ in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
