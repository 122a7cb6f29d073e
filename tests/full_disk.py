"""A disk that is full, as far as this process can tell."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def full_disk(most: int = 0) -> Iterator[None]:
    """Let no file become larger than so many bytes: what would is an error of the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def largest_in(folder: Path) -> int:
    """Return the size of the largest file of a folder."""
    return max(path.stat().st_size for path in folder.iterdir() if path.is_file())
