"""Memory that a step gives back, and the next one asks for again."""

import ctypes
import sys
from typing import Final

TRIM_THRESHOLD: Final = -1  # glibc's numbers of what mallopt sets
MMAP_MAX: Final = -4


def keep_memory() -> None:
    """Let this process keep the memory it frees, where its C library is glibc.

    Else a block above 32 MiB goes back to the system, which clears it page by page when the next
    step asks for as much: some hundredths of a step of 64x64x3 images on a CPU.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(TRIM_THRESHOLD, -1)  # none of the heap is given back
        libc.mallopt(MMAP_MAX, 0)  # and no block lies outside it
