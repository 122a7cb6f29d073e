"""Memory of large models goes back to the system as soon as it is free."""

import ctypes

BLOCK = 4 * 2**20
"""Bytes from which on a block of memory is given back; below it reuse is quicker."""

_M_MMAP_THRESHOLD = -3  # malloc.h


def give_back_large_blocks() -> None:
    """Keep glibc from holding on to freed blocks, for all of this process; other C libraries don't.

    By itself it raises the size from which it gives blocks back whenever one is freed, up to 32 MiB. Models
    travel in pieces of 5 to 8 MiB, and a node that has sent 400 MB was left with 200 MB of holes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, BLOCK)
