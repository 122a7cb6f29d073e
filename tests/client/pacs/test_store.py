"""Objects into a real archive, with TLS and a password; what it does not take is said."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from client.pacs.archive_settings import ArchiveTable, PacsError, archive
from client.pacs.stow import Store
from tests.dicom_files import write_ct
from tests.orthanc import PASSWORD, USER, Orthanc, running_orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


@pytest.fixture
def table(orthanc: Orthanc, tmp_path: Path) -> ArchiveTable:
    """Return what `pacs.toml` says of the archive."""
    return archive(str(orthanc.write_settings(tmp_path)))


def nobody(*_: object) -> None:
    """Take note of nothing."""


def test_what_is_stored_is_there_and_twice_is_once(orthanc, table, tmp_path) -> None:
    files, noted = write_ct(tmp_path / "ct", np.arange(189).reshape(3, 9, 7)), []
    store = Store.of(table, lambda *what: noted.append(what))
    store.send(files)
    store.send(files)
    content = b"".join(file.read_bytes() for file in files)
    assert noted == [(hashlib.sha256(content).hexdigest(), 3, len(content))] * 2
    found = orthanc.instances("CT")
    assert len(found) == 3
    sent = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file).PixelData for file in files}
    for content in found:
        (tmp_path / "back.dcm").write_bytes(content)
        back = pydicom.dcmread(tmp_path / "back.dcm")
        assert sent[back.SOPInstanceUID] == back.PixelData


def test_what_is_no_dicom_is_not_taken(table, tmp_path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM and no more")
    with pytest.raises(PacsError, match=r"127\.0\.0\.1: (does not take 1 of 1|answered with status)"):
        Store.of(table, nobody).send([tmp_path / "a.dcm"])


def test_a_wrong_password_and_another_certificate_are_refused(orthanc, table, tmp_path, monkeypatch) -> None:
    [file] = write_ct(tmp_path / "ct", np.zeros((1, 9, 7)), patient="p2")
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(PacsError, match="refuses the account") as refused:
        Store.of(table, nobody).send([file])
    assert "wrong" not in str(refused.value)
    monkeypatch.setenv("WARDROUND_PACS_USER", USER)
    monkeypatch.setenv("WARDROUND_PACS_PASSWORD", PASSWORD)
    with pytest.raises(PacsError, match="CERTIFICATE_VERIFY_FAILED"):
        Store.of(archive(orthanc.dicomweb), nobody).send([file])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://pacs.example.org/dicom-web", "TLS alone"),
        ("https://me:secret@pacs.example.org/dicom-web", "a password stands in it"),
        ("ftp://pacs.example.org", "url"),
    ],
)
def test_urls_that_would_tell_a_secret_are_refused(url, says) -> None:
    with pytest.raises(PacsError, match=says) as refused:
        archive(url)
    assert "secret" not in str(refused.value)


def test_an_account_is_whole_and_secret(tmp_path) -> None:
    file = tmp_path / "pacs.toml"
    for text, says in (
        ('user = "me"', "needs a password"),
        ('user = "me"\npassword = "in the file"', "password"),
        ('user = "me"\npassword = "env:A"\ntoken = "env:B"', "give one"),
    ):
        file.write_text(f'[store]\nurl = "https://pacs.example.org"\n{text}\n')
        with pytest.raises(PacsError, match=says) as refused:
            archive(str(file))
        assert "in the file" not in str(refused.value)
    file.write_text("[other]\n")
    with pytest.raises(PacsError, match=r"has no table \[store\]"):
        archive(str(file))
