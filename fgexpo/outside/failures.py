"""What the outside does, in one sentence: a file that cannot be read, a disk that is full.

Two rules cover it all. Code that reads a file which somebody else wrote does so inside ``reading``,
which turns whatever a library says about its content into a ``UserError`` with the file's name. The
command line asks ``in_one_sentence`` about what is left; an error that it does not know is a bug of
ours and keeps its traceback.
"""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ..errors import EnvironmentFailure, UserError

# Errors of connections that need not carry a number of the system's. The hub's client says which
# library it asks with; a build of PyTorch may lack processes that talk to each other.
NETWORK: tuple[type[BaseException], ...] = (
    *(ConnectionError, TimeoutError, socket.gaierror, HfHubHTTPError, LocalEntryNotFoundError),
    *(base for base in HfHubHTTPError.__bases__ if base is not OSError),
    *((torch.distributed.DistError,) if torch.distributed.is_available() else ()),
)

# Exit statuses.
INPUT, ENVIRONMENT = 2, 1

# What the machine refuses, and what to do about it. Other errors of the system are bugs of ours.
ADVICE = {
    errno.ENOSPC: "free some space and rerun the same command",
    errno.EDQUOT: "free some space and rerun the same command",
    errno.EFBIG: "raise the limit of a file's size (`ulimit -f`)",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network's disk",
    errno.ETXTBSY: "another program is using it",
    errno.EBUSY: "another program is using it",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "raise the limit of open files (`ulimit -n`)",
    errno.EAGAIN: "raise the limit of processes (`ulimit -u`)",
    errno.ENOMEM: "free some memory",
    errno.EPIPE: "whatever read the output has ended",
    errno.EADDRINUSE: "another program has this port; set MASTER_PORT or end the other program",
    errno.ECONNREFUSED: "check that the other side runs",
    errno.ECONNRESET: "check that the other side runs",
    errno.EHOSTUNREACH: "check the network",
    errno.ENETUNREACH: "check the network",
    errno.ETIMEDOUT: "check the network",
}
# Of a path: the user's, if a setting or an option names it; else perhaps a wrong one of ours.
PATHS = {
    errno.ENOENT: "it was moved or deleted, or was never there",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder is there, not a file",
    errno.EEXIST: "it is in the way; move or delete it",
    errno.ENOTEMPTY: "it is in the way; move or delete it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle",
}
TRACEBACK = "FGEXPO_TRACEBACK"


@contextmanager
def reading(path: str | Path, what: str, setting: str = "") -> Iterator[None]:
    """Name the file, and what it should be, in anything that goes wrong while it is read.

    Libraries raise exceptions of any class over a damaged file, so all of them are taken. Keep
    nothing in this block but the reading of this one file: a bug of ours would look like its fault.

    Args:
        path: the file or folder.
        what: what it should be, as in "a Parquet file of results".
        setting: the setting or option that names it, if there is one.

    Raises:
        UserError: for anything but a failure of the machine, which passes as it is. A path that
            leads nowhere is the fault of whoever named it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or _system_failure(error):
            raise
        name = f"{setting}: " if setting else ""
        raise UserError(
            f"{name}{str(path)!r} cannot be read as {what} ({first_line(error)})"
        ) from error


def in_one_sentence(error: BaseException) -> tuple[str, int] | None:
    """What to print for this error, and the exit status; None for a bug of ours.

    Looks at the causes too, since parsers wrap what a class raises.
    """
    found = [*causes(error)]
    # What went wrong while a sentence of ours was on its way up comes second.
    for cause in [*found, *causes(error, implicit=True)]:
        if isinstance(cause, UserError):
            return str(cause), INPUT
        if isinstance(cause, EnvironmentFailure):
            return str(cause), ENVIRONMENT
    told = (_of_library(cause) for cause in found)
    return next((answer for answer in told if answer is not None), None)


def _of_library(error: BaseException) -> tuple[str, int] | None:
    """The same for an error that is not of this project's own classes."""
    if isinstance(error, MisconfigurationException):
        return first_line(error), INPUT
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("fgexpo"):
        return _missing(error), INPUT
    if isinstance(error, torch.OutOfMemoryError):
        return f"{first_line(error)}; `python -m fgexpo plan` says what would fit", ENVIRONMENT
    if isinstance(error, MemoryError):
        return f"{first_line(error)}: the machine has not enough memory", ENVIRONMENT
    if isinstance(error, OSError) and (error.errno in ADVICE or error.errno in PATHS):
        return _system(error), ENVIRONMENT
    if isinstance(error, NETWORK):
        return f"{first_line(error)}; check the network and the other processes", ENVIRONMENT
    return None


def first_line(error: BaseException, limit: int = 200) -> str:
    """The class and the first line of an exception, since libraries write whole paragraphs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    text = text if len(text) <= limit else f"{text[:limit]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def causes(error: BaseException | None, implicit: bool = False) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on.

    Args:
        error: the outermost.
        implicit: follow an error, too, that was being handled when the next one happened. That one
            may be a bug, which must not pass for the failure before it.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        hidden = error.__suppress_context__ or not implicit
        error = error.__cause__ or (None if hidden else error.__context__)


def _system_failure(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in ADVICE


def _system(error: OSError) -> str:
    number = error.errno or 0
    files = [repr(str(name)) for name in (error.filename, error.filename2) if name is not None]
    # Some libraries name the file in the text alone.
    named = " and ".join(files) or (
        "" if error.strerror in (None, os.strerror(number)) else str(error.strerror).splitlines()[0]
    )
    said = f"{named}: {os.strerror(number)}" if named else os.strerror(number)
    if number in ADVICE:
        return f"{said}; {ADVICE[number]}"
    return f"{said}; {PATHS[number]} ({TRACEBACK}=1 shows who wanted it)"


def _missing(error: ModuleNotFoundError) -> str:
    # Lightning's own message says how to install it.
    package = str(error.name or "").partition(".")[0]
    hint = f"; pip install {package}" if package and "pip install" not in str(error) else ""
    return f"a package is missing: {first_line(error)}{hint}"
