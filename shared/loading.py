"""Libraries are loaded without searches for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading(*, for_good: bool = False) -> Iterator[None]:
    """Load libraries in this block, without Python's search for garbage.

    PyTorch, MONAI and Flower make a million objects that stay. Python looks through them again and again
    while they are made, for up to half of the time that loading takes.

    Args:
        for_good: The process has done nothing else yet: what is there now stays out of every later search
            too, and so stays shared with what is forked from it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if was_on:
            gc.enable()
