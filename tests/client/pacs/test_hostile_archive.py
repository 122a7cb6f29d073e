"""An archive that answers as no archive does: what it sends ends in one clear error, and in little memory."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from struct import pack

import httpx
import pytest
from pydicom.filereader import read_dataset

from client.pacs.archive_settings import PacsError
from client.pacs.dicomweb import SERIES, STUDY, DicomWeb
from client.pacs.dimse import Dimse
from client.pacs.pull_settings import DimseTable
from client.pacs.source import ListedSeries
from client.pacs.stow import Store

Handler = Callable[[httpx.Request], httpx.Response]
URL = "https://pacs.example/dicom-web"
NESTED = b'[{"0020000D": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]"


class Sent(httpx.SyncByteStream):
    """A body as it comes over a connection, and whether anybody took it."""

    def __init__(self, content: bytes) -> None:
        self.content, self.taken = content, False

    def __iter__(self):
        self.taken = True
        yield self.content


def web(handler: Handler) -> DicomWeb:
    return DicomWeb(httpx.Client(transport=httpx.MockTransport(handler)), URL, 5.0)


def store(handler: Handler, folder: Path) -> None:
    (folder / "a.dcm").write_bytes(b"x")
    Store(httpx.Client(transport=httpx.MockTransport(handler)), URL, lambda *_: None).send([folder / "a.dcm"])


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip", "br", "zstd", "identity, deflate"])
def test_no_compressed_answer_is_unpacked(coding: str, tmp_path: Path) -> None:
    body, asked = Sent(gzip.compress(gzip.compress(b" " * 2**20))), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        return httpx.Response(200, stream=body, headers={"content-encoding": coding, "content-type": kind})

    for ask in (
        lambda: web(answer).studies({"PatientID": "1"}),
        lambda: list(web(answer).files(ListedSeries("1.2", "1.2.3", "MR", 1))),
        lambda: store(answer, tmp_path),
    ):
        with pytest.raises(PacsError, match=r"pacs\.example: compresses its answer"):
            ask()
    assert asked == ["identity"] * 3
    assert not body.taken


def test_lists_nested_without_end_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(PacsError, match="not a list"):
        web(lambda _: httpx.Response(200, content=NESTED)).studies({"PatientID": "1"})
    with pytest.raises(PacsError, match="named 0 of 1 objects as stored"):
        store(lambda _: httpx.Response(200, content=NESTED), tmp_path)


@pytest.mark.parametrize("told", ["²", "٣", "9" * 5000, "-1", "", ["7"], None])
def test_a_count_that_is_none_is_not_known(told: object) -> None:
    item = {SERIES: {"Value": ["1.2"]}, "00201209": {"Value": [told]}}
    [found] = web(lambda _: httpx.Response(200, json=[item])).series("1.2")
    assert found.count is None


@pytest.mark.parametrize("told", [b"\xb2 ", b"9" * 5000, b"1\\2 ", b"1.5 "])
def test_a_count_that_is_none_is_not_known_by_dimse(told: bytes, monkeypatch, tmp_path: Path) -> None:
    def element(tag: int, content: bytes) -> bytes:
        return pack("<HHI", 0x0020, tag, len(content)) + content

    item = read_dataset(io.BytesIO(element(0x000E, b"1.2\0") + element(0x1209, told)), True, True)
    archive = Dimse(DimseTable(host="pacs.example", port=104, called="A", calling="B"), tmp_path)
    monkeypatch.setattr(archive, "_found", lambda level, query: [item])
    assert archive.series("1.2") == [ListedSeries("1.2", "1.2", "", None)]


@pytest.mark.parametrize("uid", [".", "..", "1/..", "", "1.2\n"])
def test_a_uid_leads_nowhere_else(uid: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    with pytest.raises(PacsError, match="not a UID"):
        web(answer).series(uid)


def test_a_list_without_end_is_given_up() -> None:
    pages = []

    def more(request: httpx.Request) -> httpx.Response:
        pages.append(request)
        assert len(pages) < 1000
        return httpx.Response(200, json=[{STUDY: {"Value": [f"1.{len(pages)}.{n}"]}} for n in range(200)])

    with pytest.raises(PacsError, match="a list that has no end"):
        web(more).studies({"PatientID": "1"})


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        ({"Value": [0x0110]}, "it could not process it"),
        ({"Value": [0xBEEF]}, "reason BEEFH"),
        *[({"Value": values}, "no reason") for values in ([], [[]], ["0110"], [-1], [10**4000], None, 7)],
        *[(table, "no reason") for table in (7, "x", [], None)],
    ],
)
def test_why_an_object_was_not_taken_is_said_if_it_is_known(failed: object, says: str, tmp_path) -> None:
    said = json.dumps({"00081198": {"Value": [{"00081197": failed}]}}).encode()
    with pytest.raises(PacsError, match=f"does not take 1 of 1 objects: {says}"):
        store(lambda _: httpx.Response(200, content=said), tmp_path)
