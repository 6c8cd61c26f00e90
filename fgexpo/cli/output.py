"""What a run prints must not end it: a pipe may close, a terminal may go away, a log may be full.

``python -m fgexpo fit | tee log`` goes on without its output when ``tee`` is killed; ``| head``
ends quietly.
"""

import errno
import io
import os
import sys
from typing import Any

STANDARD = (0, 1, 2)
# Whoever read it is gone for good; a full disk may be freed.
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)


def keep_going_without_output() -> None:
    """Let everything that this process prints go on when nobody can read it any more.

    Call it before anything else keeps ``sys.stdout`` or ``sys.stderr``.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # Closed by `>&-`: the next file that is opened would get this number, and the output.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        setattr(sys, name, forgiving(stream if stream is not None else _to_nothing(name)))


def forgiving(stream: Any) -> io.TextIOWrapper:
    """A stream to the same file that takes what it cannot write as written."""
    stream.flush()
    raw = _ForgivingFile(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        # A name that the terminal cannot show must not end a run either.
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _to_nothing(name: str) -> io.TextIOWrapper:
    number = {"stdout": 1, "stderr": 2}[name]
    return open(number, "w", encoding="utf-8", closefd=False)


class _ForgivingFile(io.FileIO):
    """Output that nobody reads any more, or that finds no room, ends no run."""

    def write(self, data: Any) -> int | None:
        """Write bytes, or drop them; other errors are raised."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in _GONE:
                # The libraries and the child processes that share it are spared the same error.
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, self.fileno())
                os.close(nothing)
            elif error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return len(data)
