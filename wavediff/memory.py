"""Settings of the C library's memory allocator, which serves tensors on the CPU."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed() -> None:
    """Keep freed memory for the next tensor for the lifetime of the process (glibc only).

    By default a freed tensor above 32 MB is returned to the system, which clears the pages before
    it hands them out again. Training and sampling allocate the same sizes thousands of times and
    would spend a third of their time on this.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
