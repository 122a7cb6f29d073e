"""Archives of DICOM (zip, tar), read member by member: no name in one is a path, and no bomb is unpacked."""

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

from client.data.formats.inflate import InflateError, opened_gzip
from shared.errors import DataError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_MEMBERS = 5_000_000
MOST_BYTES = 2**33  # of one member
_PACKING = 200  # bytes out of one of the archive's, at most: an empty picture packs better, a study does not
_FREE = 2**28  # bytes that are unpacked whatever the packing
_LONGEST_READ = 2**22  # bytes at once: tar keeps long names in records whose size it believes
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, InflateError, lzma.LZMAError, EOFError, OSError)
_ENCRYPTED = 0x1
Opener = Callable[[], IO[bytes]]
Member = tuple[str, int, Opener]
"""(number and name, bytes, what opens it; valid until the next one is taken)"""


def is_archive(path: Path) -> bool:
    """Say whether a file's name is that of an archive."""
    return path.name.lower().endswith(ENDINGS)


def members(path: Path) -> Iterator[Member]:
    """Give the files in an archive, in their order; links, devices and folders are none.

    Raises:
        DataError: It is no archive, damaged, encrypted, or unpacks to far more than it holds.
    """
    try:
        with path.open("rb") as file:
            found = _zip_members(file, path) if zipfile.is_zipfile(file) else _tar_members(file, path)
            yield from _counted(found)
    except _DAMAGED as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise DataError(f"is damaged, or is no archive ({said})", where=path) from None


def _counted(found: Iterator[Member]) -> Iterator[Member]:
    for number, (name, size, opener) in enumerate(found, start=1):
        if number > MOST_MEMBERS:
            raise DataError(f"holds more than {MOST_MEMBERS} files")
        yield f"{number} {name}", size, opener  # a name may stand in an archive twice


def _zip_members(file: IO[bytes], path: Path) -> Iterator[Member]:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & _ENCRYPTED:
                raise DataError("is encrypted", where=path, remedy="Unpack it with its password first.")
            _require_plausible(info.file_size, info.compress_size, path)
            yield info.filename, info.file_size, partial(archive.open, info)


def _tar_members(file: IO[bytes], path: Path) -> Iterator[Member]:
    stream = _Stream(_unpacked(file), path)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # of a million, none is asked for again
            if info.isfile() and info.sparse is None:
                _require_plausible(info.size, path.stat().st_size, path)
                yield info.name, info.size, partial(_extracted, archive, info)


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(info)
    assert found is not None  # noqa: S101 (it is a file)
    return found


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    begin = file.read(6)
    file.seek(0)
    if begin.startswith(b"\x1f\x8b"):
        return opened_gzip(file)
    if begin.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    if begin.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(file))
    return file


def _require_plausible(size: int, packed: int, path: Path) -> None:
    if size > MOST_BYTES or size > _FREE + packed * _PACKING:
        raise DataError(f"says that a file in it has {size} bytes, far more than it can hold", where=path)


class _Stream(io.RawIOBase):
    """What an archive unpacks to, as far as that is plausible; no read takes more memory than it needs."""

    def __init__(self, inner: IO[bytes], path: Path) -> None:
        self._inner, self._path = inner, path
        self._most = _FREE + path.stat().st_size * _PACKING

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise DataError("has a record of a length that none has", where=self._path)
        self._require(self._inner.tell())
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._require(offset)
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def _require(self, offset: int) -> None:
        if offset > self._most:
            raise DataError("unpacks to far more than it holds", where=self._path)
