"""Writing files of a run: what can't be written says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import RunError
from shared.files import READABLE, replace_file, replace_tensors


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into an error that says what to do.

    Raises:
        RunError: In place of any OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"can't be written ({error.strerror or error})",
            where=path,
            remedy="Make room or give the right to write; a run goes on from its checkpoint by --resume.",
        ) from None


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file of a run by new content, see `shared.files.replace_file`.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    with disk_errors(path):
        replace_file(path, content, READABLE)


def write_tensors(path: Path, save_file: Callable[[Path], object]) -> None:
    """Replace a file of a run by tensors, see `shared.files.replace_tensors`.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    with disk_errors(path):
        replace_tensors(path, save_file, READABLE)
