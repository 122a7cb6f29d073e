"""Studies out of a real archive, with TLS and a password, and out of ones that behave badly."""

import csv
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from client.data.images.readers import read_image
from client.pacs.archive_settings import PacsError, archive
from client.pacs.dicomweb import DicomWeb
from client.pacs.dimse import Dimse
from client.pacs.multipart import Parts
from client.pacs.pull_settings import DimseTable, Pace, PullTable
from client.pacs.source import ListedSeries, RefusedError, UnreachableError
from shared.audit.log import parse_entry
from shared.pki.certificates import new_key, save_key
from tests.cli import wardround
from tests.client.dicom_import.heaps import RULES, write_heap, write_key, write_series
from tests.orthanc import TITLE, USER, Orthanc, running_orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with running_orthanc(folder) as running:
        write_heap(folder / "heap")
        for file in (folder / "heap").iterdir():
            if file.suffix != ".txt":
                running.put(file)
        yield running


@pytest.fixture
def place(orthanc: Orthanc, tmp_path: Path) -> Path:
    """Return a folder with a site, settings of the archive, rules and a list of accession numbers."""
    settings = orthanc.write_settings(tmp_path)
    settings.write_text(settings.read_text().replace("[store]", "[pull]"))
    (tmp_path / "keys").mkdir()
    save_key(tmp_path / "keys" / "site.key", new_key())
    write_key(tmp_path)
    table = '[table]\nby = "accession_number"\nkey = "Study No"\ncolumns = ["label"]\n'
    (tmp_path / "rules.toml").write_text(RULES + table)
    (tmp_path / "list.csv").write_text("Study No,label\nACC101,a\nACC102,b\nACC103,a\nACC999,b\nACC*,a\n")
    return tmp_path


def pulled(place: Path, out: str = "ds", code: int = 0, *options: object):
    ended = wardround(*command(place, out), *options, "--json")
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout) if code == 0 else ended.stderr


def command(place: Path, out: str) -> list[object]:
    rules = ("--rules", place / "rules.toml", "--dir", place, "--key", place / "pseudonym.key")
    return ["data", "pull", place / "list.csv", "--from", place / "pacs.toml", "--out", place / out, *rules]


def entries(place: Path) -> list:
    return [
        parse_entry(line)
        for path in sorted((place / "audit").glob("*.jsonl"))
        for line in path.read_bytes().splitlines(keepends=True)
    ]


def test_accession_numbers_become_a_dataset(place: Path, orthanc: Orthanc) -> None:
    answer = pulled(place)
    assert answer["pulled"]["studies"] == 3
    assert answer["pulled"]["files"] == 27
    assert answer["pulled"]["not"] == {
        "is not in the archive": 1,
        "has a sign that stands for others (* ? \\)": 1,
    }
    assert answer["used"] == {"rows": 3, "series": 6, "files": 21, "patients": 3}
    rows = list(csv.DictReader(io.StringIO((place / "ds" / "manifest.csv").read_text())))
    assert sorted(row["label"] for row in rows) == ["a", "a", "b"]
    assert wardround("data", "check", place / "ds", "--image=t1").returncode == 0
    log = entries(place)
    assert [entry.event for entry in log].count("study-pulled") == 3
    assert [entry.event for entry in log].count("study-not-pulled") == 2
    text = "".join(path.read_text() for path in (place / "audit").glob("*.jsonl"))
    for secret in ("ACC10", "HOSP", "1.2.101", "in a test", USER + ":"):
        assert secret not in text
    assert "ACC999" in (place / "ds.import" / "not-pulled.csv").read_text()
    again = pulled(place)
    assert again["pulled"]["files"] == 0
    assert again["used"] == answer["used"]


def test_what_is_new_in_the_archive_is_added(place: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    (place / "rules.toml").write_text(RULES)
    asked = [part for part in command(place, "ds") if part != place / "list.csv"]
    for file in write_series(tmp_path / "new", "NEW1", 201, 1, "flair"):
        orthanc.put(file)
    assert "is not KEYWORD=VALUE" in wardround(*asked, "--query", "Patient=NEW1").stderr
    assert wardround(*asked, "--query", "PatientID=NEW1").returncode == 2  # it has no T1 yet
    for file in write_series(tmp_path / "new", "NEW1", 201, 2, "t1"):
        orthanc.put(file)
    ended = wardround(*asked, "--query", "PatientID=NEW1", "--json")
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["pulled"]["files"], answer["used"]["rows"]) == (3, 1)


def test_an_account_and_a_site_are_needed(place: Path) -> None:
    (place / "password").write_text("another")
    assert "refuses the account (status 401)" in pulled(place, "other", 2)
    (place / "keys" / "site.key").unlink()
    assert "no site here" in pulled(place, "other", 2)
    (place / "pacs.toml").write_text('[pull]\nurl = "http://pacs.example.org/dicom-web"\n')
    assert "TLS alone" in pulled(place, "other", 2)


def write_dimse(place: Path, orthanc: Orthanc, called: str = TITLE, more: str = "") -> None:
    (place / "pacs.toml").write_text(
        f'[dimse]\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\ncalled = "{called}"\ntls = false\n{more}'
    )


def test_the_same_comes_by_dimse(place: Path, orthanc: Orthanc) -> None:
    by_web = pulled(place)
    write_dimse(place, orthanc)
    by_dimse = pulled(place, "dimse")
    assert by_dimse["used"] == by_web["used"]
    assert by_dimse["pulled"]["not"] == by_web["pulled"]["not"]
    manifests = [(place / name / "manifest.csv").read_text() for name in ("ds", "dimse")]
    assert manifests[0] == manifests[1]
    for row in csv.DictReader(io.StringIO(manifests[0])):
        one, other = (read_image(place / name / row["t1"]) for name in ("ds", "dimse"))
        assert (one.array == other.array).all()
    assert pulled(place, "dimse")["pulled"]["files"] == 0
    assert not list((place / "dimse.import").glob(".coming-*"))
    write_dimse(place, orthanc, more=f"receive_port = {orthanc.receive_port}")
    by_move = pulled(place, "moved")
    assert by_move["used"] == by_web["used"]
    assert by_move["pulled"]["files"] == by_dimse["pulled"]["files"]
    assert (place / "moved" / "manifest.csv").read_text() == manifests[0]
    for row in csv.DictReader(io.StringIO(manifests[0])):
        one, other = (read_image(place / name / row["t1"]) for name in ("ds", "moved"))
        assert (one.array == other.array).all()


def test_an_archive_that_does_not_know_us_is_named(place: Path, orthanc: Orthanc) -> None:
    write_dimse(place, orthanc, called="ANOTHER")
    assert "refuses 'WARDROUND'" in pulled(place, "dimse", 2)
    write_dimse(place, orthanc, more="calling = 7")
    assert "[dimse] calling" in pulled(place, "dimse", 2)


def test_an_archive_that_takes_no_such_question_is_told(place: Path) -> None:
    entity = AE(ae_title=TITLE)
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        table = DimseTable(host="127.0.0.1", port=server.server_address[1], called=TITLE, tls=False)
        dimse = Dimse(table, place)
        with pytest.raises(RefusedError, match="does not take C-GET from 'WARDROUND'"):
            list(dimse.files(ListedSeries("1.2.3", "1.2.3.4", "CT", 2)))
    finally:
        server.shutdown()


def attempt(place: Path, moment: int) -> None:
    left = moment

    def watch(event: str, _: tuple) -> None:
        nonlocal left
        if event in {"open", "os.rename", "os.mkdir"}:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    wardround(*command(place, "again"), "--copy", "--processes", "1")


def test_killed_at_any_moment_a_pull_goes_on(place: Path) -> None:
    whole = pulled(place, "ds", 0, "--copy")
    context = multiprocessing.get_context("fork")
    kills = 0
    for moment in range(30, 3000, 30):
        process = context.Process(target=attempt, args=(place, moment))
        process.start()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    assert kills >= 3
    contents = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (place / "ds", place / "again")
    ]
    assert contents[0] == contents[1]
    assert whole["used"]["rows"] == 3


@contextmanager
def bad_archive(answers: dict[str, bytes], *, holds: str = "") -> Iterator[str]:
    """An archive that says what it is told to; what begins with `holds` it begins and never ends."""
    end = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            content = answers.get(path)
            self.send_response(404 if content is None else 403 if content == b"403" else 200)
            self.send_header(
                "content-type",
                'multipart/related; boundary="b"'
                if "1.2.3" in path and "series/" in path
                else "application/dicom+json",
            )
            self.end_headers()
            self.wfile.write(content or b"")
            if holds and path.startswith(holds):
                end.wait()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            end.set()
            server.shutdown()
            thread.join()


def items(**values: str) -> bytes:
    tags = {
        "accession": "00080050",
        "study": "0020000D",
        "series": "0020000E",
        "count": "00201209",
        "modality": "00080060",
    }
    return json.dumps([{tags[name]: {"Value": [value]} for name, value in values.items()}]).encode()


SERIES = {
    "/studies": items(study="1.2.3", accession="ACC1"),
    "/studies/1.2.3/series": items(series="1.2.3.4", count="2", modality="MR"),
}
FILES = "/studies/1.2.3/series/1.2.3.4"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"/studies": items(study="1.2.3", accession="ACC1")}, "is no longer in the archive"),
        (SERIES, "is no longer in the archive"),
        ({**SERIES, FILES: b"--b\r\n\r\nDICM\r\n--b--"}, "sent a part of a series alone"),
        ({**SERIES, FILES: b"--b\r\n\r\nDICM"}, "sends what is not a series (it ends in the middle)"),
        ({**SERIES, "/studies": b"<html>"}, "answers with what is not a list (DICOM JSON)"),
        (
            {**SERIES, "/studies": items(study="1.2.3", accession="ACC2")},
            "answers with what was not asked for",
        ),
        ({**SERIES, "/studies": items(study="1.2.3")}, "answers with what was not asked for"),
        ({"/studies": items(study="1.2.3/../../etc", accession="ACC1")}, "names what is not a UID"),
    ],
)
def test_a_study_that_does_not_come_is_counted_with_its_reason(place: Path, answers, reason: str) -> None:
    (place / "list.csv").write_text("Study No,label\nACC1,a\n")
    with bad_archive(answers) as url:
        (place / "pacs.toml").write_text(f'[pull]\nurl = "{url}"\n')
        ended = wardround(*command(place, "ds"), "--json")
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["pulled"]["not"] == {reason: 1}
    assert list((place / "ds.import" / "pulled").glob("*/*")) == []


def test_a_series_that_came_in_part_is_no_row(place: Path, tmp_path: Path) -> None:
    (place / "list.csv").write_text("accession_number\nACC1\n")
    (place / "rules.toml").write_text("")
    one = write_series(tmp_path / "in", "HOSP1", 1, 1, "t1")[0].read_bytes()
    kill = place / "ds.import" / ".coming-of-a-pull-that-was-killed"
    old = place / "ds.import" / "pulled" / "study" / "series.part"
    for left in (kill, old):
        left.mkdir(parents=True)
        (left / "1.dcm").write_bytes(one)
    with bad_archive({**SERIES, FILES: b"--b\r\n\r\n" + one + b"\r\n--b--"}) as url:
        (place / "pacs.toml").write_text(f'[pull]\nurl = "{url}"\n')
        ended = wardround(*command(place, "ds"), "--json")
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["used"] == {}
    assert not list((place / "ds.import").rglob("*.dcm"))


def test_one_study_that_an_account_may_not_read_does_not_end_the_pull(place: Path) -> None:
    (place / "list.csv").write_text("Study No,label\nACC1,a\nACC2,b\n")
    answers = {**SERIES, FILES: b"403"}
    with bad_archive(answers) as url:
        (place / "pacs.toml").write_text(f'[pull]\nurl = "{url}"\n')
        ended = wardround(*command(place, "ds"), "--json")
    told = json.loads(ended.stdout)["pulled"]["not"]
    assert told == {"refuses the account (status 403)": 1, "answers with what was not asked for": 1}
    assert "ACC1,refuses" in (place / "ds.import" / "not-pulled.csv").read_text()
    with bad_archive({"/studies": b"403"}) as url:
        (place / "pacs.toml").write_text(f'[pull]\nurl = "{url}"\n')
        assert "refuses the account (status 403)" in pulled(place, "ds", 2)


def test_a_list_goes_on_until_nothing_new_comes() -> None:
    studies = [f"1.2.{number}" for number in range(250)]

    def answer(request: httpx.Request) -> httpx.Response:
        begin = int(request.url.params["offset"])
        page = studies[begin : begin + 100]  # fewer than it is asked for
        return httpx.Response(200, content=b"[" + b",".join(items(study=uid)[1:-1] for uid in page) + b"]")

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        found = DicomWeb(client, "http://archive", 60).studies({"Modality": "MR"})
    assert found == sorted(studies)


def taken(dicomweb: DicomWeb) -> list[bytes]:
    return [b"".join(pieces) for pieces in dicomweb.files(ListedSeries("1.2.3", "1.2.3.4", "MR", 2))]


def test_a_server_that_never_ends_is_given_up() -> None:
    begun = {**SERIES, FILES: b"--b\r\n\r\nDICM"}
    with bad_archive(begun, holds=FILES) as url, httpx.Client(timeout=0.2) as client:  # noqa: SIM117
        with pytest.raises(UnreachableError, match="did not answer in time"):
            taken(DicomWeb(client, url, 60))
    moments = iter(range(0, 10_000, 7))  # each look at the clock is 7 s later
    long = {**SERIES, FILES: b"--b\r\n\r\n" + b"a" * 2**20}
    with bad_archive(long) as url, httpx.Client() as client:  # noqa: SIM117
        with pytest.raises(PacsError, match="was too slow"):
            taken(DicomWeb(client, url, 60, clock=lambda: next(moments)))


def test_where_nobody_answers_a_pull_ends_at_once(place: Path) -> None:
    with bad_archive({}) as url:
        pass
    (place / "pacs.toml").write_text(f'[pull]\nurl = "{url}"\n')
    assert re.search(r"can't be reached[^\0]*goes on where this ended", pulled(place, "ds", 2))
    assert (place / "ds.import" / "not-pulled.csv").read_text().count("can't be reached") == 3


def test_bytes_come_no_faster_than_they_may() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(100.0, lambda: now[0], sleep)
    for _ in range(10):
        pace(50)
    assert now[0] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("hours", "at", "seconds"),
    [
        ("19:00-06:00", "20:00", 0),
        ("19:00-06:00", "05:59", 0),
        ("19:00-06:00", "06:00", 13 * 3600),
        ("12:00-13:00", "13:30", 22.5 * 3600),
        (None, "13:30", 0),
    ],
)
def test_an_archive_is_asked_within_its_hours(hours, at: str, seconds: float) -> None:
    table = PullTable(url="https://pacs.example.org", hours=hours)
    assert table.wait(datetime.fromisoformat(f"2026-03-01T{at}:00+00:00")) == seconds


def test_an_address_is_an_archive_too() -> None:
    assert archive("https://pacs.example.org/web/", PullTable).url == "https://pacs.example.org/web"


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(1, 30), st.data())
def test_parts_come_as_they_were_sent(parts: list[bytes], size: int, data: st.DataObject) -> None:
    mark = b"\r\n--" + b"x-7"
    if any(mark in part or (part + mark).find(mark) != len(part) for part in parts):
        return
    whole = (
        b"".join(mark + b"\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts)
        + mark
        + b"--\r\n"
    )
    if data.draw(st.booleans()):
        whole = whole[2:]
    pieces = iter([whole[begin : begin + size] for begin in range(0, len(whole), size)])
    found = [b"".join(part) for part in Parts('multipart/related; boundary="x-7"', pieces)]
    assert found == parts
