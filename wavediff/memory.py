"""Memory of the C library, which is where tensors on a CPU come from."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed() -> None:
    """Keep what is freed for the next tensor, for as long as the process lives (glibc alone).

    A tensor above 32 MB is otherwise handed back to the system when it is freed and cleared by it
    when it is asked for again; training and sampling do that thousands of times at the same sizes,
    and a third of their time goes there.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
