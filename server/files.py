"""Writing files of a run so that a crash at any moment leaves old or new content, never half of it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import RunError

_UNFINISHED = ".part"  # how the names of files end that are not yet whole


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
            remedy="The last checkpoint is whole: make room or give the right to write, then use --resume.",
        ) from None


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file by new content, on the disk before this returns.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    with disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_atomic` could not finish because its process was killed.

    Raises:
        RunError: A file can't be removed.
    """
    for path in folder.rglob(f".*{_UNFINISHED}"):
        with disk_errors(path):
            path.unlink()


def append(path: Path, content: str, *, sync: bool) -> None:
    """Add text to a file; with `sync` it survives a power cut once this returns, else only a crash.

    Raises:
        RunError: It can't be written.
    """
    with disk_errors(path), path.open("a", encoding="utf-8", newline="") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
