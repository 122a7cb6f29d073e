"""Writing files of a run: what can't be written says what to do."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import RunError
from shared.files import READABLE, replace_by, replace_file


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
    """Replace a file of a run by new content, see `shared.files.replace_file`.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    with disk_errors(path):
        replace_file(path, content, READABLE)


def write_tensors(path: Path, save_file: Callable[[Path], object]) -> None:
    """Replace a file of a run by tensors, as they lie in memory: no copy of them is made on the way.

    Args:
        path: The file.
        save_file: Writes them into the file that it is given, with a function of `safetensors`.

    Raises:
        RunError: It can't be written; the old file is as it was.
    """
    from safetensors import SafetensorError  # noqa: PLC0415  (few commands write any)

    def write(part: Path) -> None:
        try:
            save_file(part)
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))  # so it says what the system said
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None

    with disk_errors(path):
        replace_by(path, write, READABLE)
