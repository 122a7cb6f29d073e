"""What glibc does with the memory of models that is free again; other C libraries ignore it."""

import ctypes

BLOCK = 4 * 2**20
"""Bytes from which on a block of memory is given back; below it reuse is quicker."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 * 2**20  # glibc allows no more
_MOST_KEPT = 128 * 2**20


def give_back_large_blocks() -> None:
    """Give large blocks back to the system as soon as they are free, in all of this process.

    By itself glibc raises the size from which it does so whenever it gives one back, up to 32 MiB. Models
    travel in pieces of 5 to 8 MiB, and a node that has sent 400 MB was left with 200 MB of holes.
    """
    _set(_M_MMAP_THRESHOLD, BLOCK)


def keep_small_models() -> None:
    """Use the memory of models up to 32 MiB again, in all of this process, and keep up to 128 MiB for that.

    Each update that arrives takes new memory otherwise, page by page: a seventh of the time that a simulation
    of small models spends outside its workers.
    """
    _set(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    _set(_M_TRIM_THRESHOLD, _MOST_KEPT)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
