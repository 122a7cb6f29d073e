"""Archives that are damaged in their midst, or say more than they hold, and files that fail for a moment."""

import copy
import errno
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from client.dicom_import import scan as scanning
from client.dicom_import.archives import ArchiveError, members
from client.dicom_import.index import Index
from client.dicom_import.place import Packed, unpack
from client.dicom_import.scan import scan
from tests.client.dicom_import.heaps import write_series
from tests.client.dicom_import.test_deidentify import NAMES

SECRET = "MUSTERMANN^ANNA"  # noqa: S105 (a name)


def as_tar(path: Path, names: tuple[str, ...] = ("a", "b", "c")) -> bytes:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 700
            file.addfile(info, io.BytesIO(bytes(700)))
    return path.read_bytes()


def as_zip(path: Path, name: str, content: bytes = b"a" * 1000, packed: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(path, "w", packed) as file:
        file.writestr(name, content)
    return path.read_bytes()


def all_read(path: Path) -> int:
    count = 0
    for _, _, opened in members(path):
        with opened() as file:
            file.read()
        count += 1
    return count


def test_a_tar_that_ends_before_its_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    whole, step = as_tar(path), 512 + 1024  # a header, and what 700 bytes take
    assert all_read(path) == 3
    for damaged in (
        whole[: 2 * step],  # cut between two files
        whole[: 2 * step + 100],  # within a header
        whole[: 2 * step + 600],  # within a file
        whole[: 2 * step] + b"#" * 512 + whole[2 * step + 512 :],  # a header that is none
    ):
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError, match="is damaged"):
            all_read(path)


def test_a_tar_in_which_a_zip_lies_is_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for name in ("a", "b"):
            file.addfile(tarfile.TarInfo(name))
        content = as_zip(tmp_path / "inner.zip", "x")
        info = tarfile.TarInfo("inner.zip")
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    assert all_read(path) == 3


def wrong_sum(path: Path) -> None:
    content = bytearray(as_zip(path, SECRET))
    content[60] ^= 1
    path.write_bytes(content)


def another_packing(path: Path) -> None:
    content = bytearray(as_zip(path, SECRET))
    content[8] = 9  # Deflate64
    content[content.index(b"PK\x01\x02") + 10] = 9
    path.write_bytes(content)


def name_that_is_no_text(path: Path) -> None:
    content = bytearray(as_zip(path, SECRET))
    content[content.index(b"PK\x01\x02") + 9] |= 8  # it says UTF-8
    content[content.rindex(SECRET.encode())] = 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("write", [wrong_sum, another_packing, name_that_is_no_text])
def test_a_file_in_an_archive_that_can_not_be_read_is_told_without_its_name(tmp_path: Path, write) -> None:
    path = tmp_path / "a.zip"
    write(path)
    with pytest.raises(ArchiveError, match=r"a\.zip: is (damaged|packed)") as caught:
        all_read(path)
    assert "MUSTERMANN" not in str(caught.value)
    index = Index(tmp_path / "index.sqlite")
    scan([path], index, 1, lambda _: None)
    ((where, problem),) = index.problems()
    assert (where, problem[:3]) == (str(path), "is ")
    waiting = [Packed(str(path), f"1 {SECRET}", 1000, tmp_path / "out")]
    with pytest.raises(ArchiveError, match=r"a\.zip: is (damaged|packed)"):
        unpack(waiting, NAMES, lambda _: None)
    assert not (tmp_path / "out").exists()


def test_files_that_share_what_is_packed_are_added_up(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"a")
        file.filelist[0].file_size = 2**27
        file.filelist += [copy.copy(file.filelist[0]) for _ in range(2)]
    with pytest.raises(ArchiveError, match="unpacks to far more than it holds"):
        list(members(path))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_what_failed_for_a_moment_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write_series(tmp_path / "in", "p", 1, 1, "flair")
    index = Index(tmp_path / "index.sqlite")

    def failing(path: Path) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(scanning, "header_of", failing)
        scan([tmp_path / "in"], index, 1, lambda _: None)
    assert len(list(index.problems())) == 3
    scan([tmp_path / "in"], index, 1, lambda _: None)
    assert not list(index.problems())
    assert index.count_patients() == 1
