"""How the C library holds memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names in glibc's malloc.h
KEPT = 1 << 30  # bytes


def keep_freed() -> None:
    """Let the process keep up to a GiB that it has freed, where the C library is glibc.

    By default what is freed goes back to the system and comes again page by page as it is used
    anew, which takes a twentieth of a training step whose tensors are of some megabytes.
    """
    with suppress(AttributeError, OSError, TypeError):  # another library, another system
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, KEPT)
        library.mallopt(MMAP_THRESHOLD, KEPT)
