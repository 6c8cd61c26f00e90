"""What the outside does, in one sentence: a file that cannot be read, a disk that is full.

Two rules cover it all. Code that reads a file which somebody else wrote does so inside ``reading``,
which turns whatever a library says about its content into a ``UserError`` with the file's name. The
command line asks ``in_one_sentence`` about what is left; an error that it does not know is a bug of
ours and keeps its traceback.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from .errors import EnvironmentFailure, UserError

# Exit statuses.
INPUT, ENVIRONMENT = 2, 1

# What the machine refuses, and what to do about it. Other errors of the system are bugs of ours.
ADVICE = {
    errno.ENOSPC: "free some space and rerun the same command",
    errno.EDQUOT: "free some space and rerun the same command",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENOENT: "it was moved or deleted, or was never there",
    errno.EEXIST: "it is in the way; move or delete it",
    errno.EISDIR: "a folder is there, not a file",
    errno.ENOMEM: "free some memory",
    errno.EPIPE: "whatever read the output has ended",
}


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
        UserError: for anything but an error of the machine, which passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in ADVICE:
            raise
        name = f"{setting}: " if setting else ""
        raise UserError(
            f"{name}{str(path)!r} cannot be read as {what} ({first_line(error)})"
        ) from error


def in_one_sentence(error: BaseException) -> tuple[str, int] | None:
    """What to print for this error, and the exit status; None for a bug of ours.

    Looks at the causes too, since parsers wrap what a class raises.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, UserError):
            return str(cause), INPUT
    for cause in causes:
        if isinstance(cause, EnvironmentFailure):
            return str(cause), ENVIRONMENT
        if isinstance(cause, MisconfigurationException):
            return first_line(cause), INPUT
        if isinstance(cause, OSError) and cause.errno in ADVICE:
            return _system(cause), ENVIRONMENT
    return None


def first_line(error: BaseException, limit: int = 200) -> str:
    """The class and the first line of an exception, since libraries write whole paragraphs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    text = text if len(text) <= limit else f"{text[:limit]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _system(error: OSError) -> str:
    files = [repr(str(name)) for name in (error.filename, error.filename2) if name is not None]
    named = f"{' and '.join(files)}: " if files else ""
    return f"{named}{os.strerror(error.errno or 0)}; {ADVICE[error.errno or 0]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
