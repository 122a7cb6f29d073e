"""Files that are whole whatever happens to the process, and locks that end with it.

`filelock`, which PyTorch brings along, has no lock on a file that several may share, which whoever only looks
whether somebody is at work needs: its read-write lock is an SQLite file. Where a disk has no locks, it makes
marker files instead, which outlive a process that was killed. So `flock` is called here, and nowhere else.
"""

import errno
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

PRIVATE, READABLE = 0o600, 0o644
_PART = ".part"  # how the names of files end that are not yet whole
_ATTEMPTS, _PAUSE = 5, 0.02  # seconds: who only looks has a lock for a moment


def writing_remedy(error: OSError) -> str | None:
    """Return what helps where a file can't be written; None where that depends on the file."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Make room on its disk."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Give this user the right to write there."
    return None


def replace_file(path: Path, content: bytes, mode: int = PRIVATE, *, sync: bool = True) -> None:
    """Replace a file by new content with these rights: a crash leaves the old or the new, never half of it.

    Args:
        path: The file; made if it is not there.
        content: All of it.
        mode: Its rights.
        sync: Survive a power cut, too, once this returns. Leave it out for what can be made again.

    Raises:
        OSError: It can't be written; the old file is as it was.
    """
    replace_by(path, lambda part: part.write_bytes(content), mode, sync=sync)


def replace_by(
    path: Path, write: Callable[[Path], object], mode: int = PRIVATE, *, sync: bool = True
) -> None:
    """Replace a file by what a function writes into the file that it is given; otherwise as `replace_file`.

    Raises:
        OSError: It can't be written; the old file is as it was.
    """
    with _part(path, write, mode, sync=sync) as part:
        part.replace(path)
    if sync:
        sync_folder(path.parent)


def replace_tensors(
    path: Path, save_file: Callable[[Path], object], mode: int = PRIVATE, *, sync: bool = True
) -> None:
    """Replace a file by tensors, as they lie in memory: no copy of them is made on the way.

    Args:
        path: The file.
        save_file: Writes them into the file that it is given, with a function of `safetensors`.
        mode: As for `replace_file`.
        sync: The same.

    Raises:
        OSError: It can't be written; the old file is as it was.
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

    replace_by(path, write, mode, sync=sync)


def write_new(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write a file that is not there yet, whole or not at all, on the disk before this returns.

    Raises:
        FileExistsError: It is there; of two who write it at once, one gets this.
        OSError: It can't be written.
    """
    with _part(path, lambda part: part.write_bytes(content), mode, sync=True) as part:
        os.link(part, path)  # fails where there is one by now, as renaming would not
    sync_folder(path.parent)


def append(path: Path, content: str, *, sync: bool) -> None:
    """Add text to a file; with `sync` it survives a power cut once this returns, otherwise only a crash.

    Raises:
        OSError: It can't be written.
    """
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def remove_unfinished(folder: Path) -> None:
    """Remove what was not finished, anywhere below a folder, because its process was killed.

    Raises:
        OSError: A file can't be removed.
    """
    for path in folder.rglob(f".*{_PART}"):
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Lock:
    """The lock of a file or folder: held from when this is made until it is closed; a context manager.

    It keeps out other processes, and other holders in this one, and ends with the process, however that ends.

    Args:
        path: A file, made if it is not there, or a folder.
        wait: Until it is free.

    Raises:
        BlockingIOError: Somebody else has it, and this does not wait.
        OSError: The file can't be opened.
    """

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        self._handle = _opened(path)
        try:
            if wait:
                fcntl.flock(self._handle, fcntl.LOCK_EX)
            else:
                _lock_now(self._handle)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)


def is_locked(path: Path) -> bool:
    """Say whether somebody has the lock of a file; who looks waits for nobody.

    Raises:
        OSError: The file can't be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def _part(path: Path, write: Callable[[Path], object], mode: int, *, sync: bool) -> Iterator[Path]:
    """Give a new file beside the one meant; what is left of it afterwards is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent)
    part = Path(name)
    try:
        os.close(handle)
        write(part)
        with part.open("rb") as file:
            os.fchmod(file.fileno(), mode)
            if sync:
                os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _opened(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _lock_now(handle: int) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE)
        else:
            return
