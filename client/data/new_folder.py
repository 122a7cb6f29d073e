"""A new folder for its owner's eyes only: whole, or not there at all."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import DataError


def require_new(out: Path) -> None:
    """Refuse a folder that is there already, or that would lie in one that is not.

    Raises:
        DataError: It is, or it would.
    """
    if not out.parent.is_dir():
        raise DataError(
            "can't be made: the folder in which it would lie is not there",
            where=out,
            remedy=f"Make it: mkdir -p {shlex.quote(str(out.parent))}",
        )
    if out.exists() or out.is_symlink():
        raise DataError(
            "exists already, and nothing is overwritten",
            where=out,
            remedy="Remove it, or name another folder with --out.",
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder (0700) that appears as `out` when everything in it is written.

    Raises:
        DataError: There is one already, or it can't be written.
    """
    require_new(out)
    part = None
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        yield part
        require_new(out)
        part.rename(out)
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=out) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def put(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
