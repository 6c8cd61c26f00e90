"""Keep freed memory in the process instead of returning it to the system after every tensor.

By default glibc returns much freed memory to the system, which clears the pages again for the next
tensor. On a CPU this costs up to a third of a small model's forward pass (see docs/performance.md).
PyTorch already keeps a GPU's memory.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 2**25  # more is refused
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Set the C library's thresholds; return False, and change nothing, if it is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return False
    done = (
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        mallopt(_M_TRIM_THRESHOLD, _NEVER),
    )
    return all(done)
