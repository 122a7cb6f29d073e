"""Archives of DICOM (zip, tar), read member by member: no name in one is a path, and no bomb is unpacked."""

import bz2
import errno
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

from client.data.formats.inflate import opened_gzip
from shared.errors import DataError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_MEMBERS = 5_000_000
MOST_BYTES = 2**33  # of one member
_PACKING = 200  # bytes out of one of the archive's, at most: an empty picture packs better, a study does not
_FREE = 2**28  # bytes that are unpacked whatever the packing
_LONGEST_READ = 2**22  # bytes at once: tar keeps long names in records whose size it believes
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # how one begins: with a file, empty, in parts
_BLOCK = 512  # bytes of a tar; one of zeros ends it
_ENCRYPTED = 0x1
Opener = Callable[[], IO[bytes]]
Member = tuple[str, int, Opener]
"""(number and name, bytes, what opens it; valid until the next one is taken)"""


class ArchiveError(DataError):
    """An archive that can't be used."""


def is_archive(path: Path) -> bool:
    """Say whether a file's name is that of an archive."""
    return path.name.lower().endswith(ENDINGS)


def members(path: Path) -> Iterator[Member]:
    """Give the files in an archive, in their order; links, devices and folders are none.

    What is damaged in a file shows when that is read: then its opener, or the reading, raises the same.

    Raises:
        ArchiveError: It is no archive, damaged, encrypted, or unpacks to far more than it holds.
        OSError: It can't be read.
    """
    with path.open("rb") as file, _told(path):
        begin = file.read(4)
        file.seek(0)
        found = _zip_members(file, path) if begin in _ZIP else _tar_members(file, path)
        for number, (name, size, opener) in enumerate(found, start=1):
            if number > MOST_MEMBERS:
                raise ArchiveError(f"holds more than {MOST_MEMBERS} files", where=path)
            # a name may stand in an archive twice
            yield f"{number} {name}", size, partial(_opened, opener, path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say of whatever a library raises that the archive is damaged; names in it are left out."""
    try:
        yield
    except (ArchiveError, MemoryError):
        raise
    except NotImplementedError:
        raise ArchiveError(
            "is packed in a way that can't be read here", where=path, remedy="Unpack it first."
        ) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk
            raise
        raise ArchiveError(f"is damaged, or is no archive ({type(error).__name__})", where=path) from None


def _opened(opener: Opener, path: Path) -> IO[bytes]:
    with _told(path):
        return cast(IO[bytes], _Member(opener(), path))


class _Member(io.RawIOBase):
    """A file in an archive; what goes wrong in it is the archive's."""

    def __init__(self, inner: IO[bytes], path: Path) -> None:
        self._inner, self._path = inner, path

    def read(self, size: int = -1, /) -> bytes:
        with _told(self._path):
            return self._inner.read(size)

    def close(self) -> None:
        self._inner.close()
        super().close()


def _zip_members(file: IO[bytes], path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        if sum(info.file_size for info in files) > _most_bytes(path):  # files may share what is packed
            raise ArchiveError("unpacks to far more than it holds", where=path)
        for info in files:
            if info.flag_bits & _ENCRYPTED:
                raise ArchiveError("is encrypted", where=path, remedy="Unpack it with its password first.")
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
    if stream.last != bytes(_BLOCK):  # the library takes whatever is no header for the end
        raise ArchiveError("is damaged, or was cut short: it has no end", where=path)


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(info)
    assert found is not None  # noqa: S101 (it is a file)
    return found


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    begin = file.read(6)
    file.seek(0)
    if begin.startswith(b"\x1f\x8b"):
        return opened_gzip(file)
    if begin.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    if begin.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(file))
    return file


def _most_bytes(path: Path) -> int:
    return _FREE + path.stat().st_size * _PACKING


def _require_plausible(size: int, packed: int, path: Path) -> None:
    if size > MOST_BYTES or size > _FREE + packed * _PACKING:
        raise ArchiveError(f"says that a file in it has {size} bytes, far more than it can hold", where=path)


class _Stream(io.RawIOBase):
    """What an archive unpacks to, as far as that is plausible; no read takes more memory than it needs.

    Attributes:
        last: What was read last.
    """

    def __init__(self, inner: IO[bytes], path: Path) -> None:
        self._inner, self._path = inner, path
        self._most = _most_bytes(path)
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise ArchiveError("has a record of a length that none has", where=self._path)
        self._require(self._inner.tell())
        self.last = self._inner.read(size)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._require(offset)
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def _require(self, offset: int) -> None:
        if offset > self._most:
            raise ArchiveError("unpacks to far more than it holds", where=self._path)
