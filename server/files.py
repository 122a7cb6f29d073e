"""Writing files of a run, or about one: what can't be written says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import RunError
from shared.files import READABLE, replace_file, replace_tensors

RESUME = "Make room or give the right to write; a run goes on from its checkpoint by --resume."
AGAIN = "Make room or give the right to write, then do the same again."
"""Remedies, of what a run writes while it is at work, and of what has no checkpoint."""


@contextmanager
def disk_errors(path: Path, remedy: str = RESUME) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into an error that says what to do.

    Args:
        path: What is written.
        remedy: What to do, for whoever gave the command.

    Raises:
        RunError: In place of any OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"can't be written ({error.strerror or error})",
            where=path,
            remedy=remedy,
        ) from None


def write_atomic(path: Path, content: bytes, remedy: str = RESUME) -> None:
    """Replace a file by new content, see `shared.files.replace_file`; the remedy is that of `disk_errors`.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    with disk_errors(path, remedy):
        replace_file(path, content, READABLE)


def write_tensors(path: Path, save_file: Callable[[Path], object]) -> None:
    """Replace a file of a run by tensors, see `shared.files.replace_tensors`.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    with disk_errors(path):
        replace_tensors(path, save_file, READABLE)
