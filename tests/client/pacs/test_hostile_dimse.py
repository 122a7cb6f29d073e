"""An archive that answers by DIMSE, or sends, as none does; and whoever sends in its place."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import MRImageStorage
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

from client.pacs import dimse
from client.pacs.archive_settings import PacsError
from client.pacs.arrivals import Arrivals
from client.pacs.dimse import Dimse
from client.pacs.pull_settings import DimseTable, read_source
from client.pacs.receiver import receiving
from client.pacs.source import ListedSeries, UnreachableError

TITLE = "PACS"


def table(port: int, **more: Any) -> DimseTable:
    return DimseTable(host="127.0.0.1", port=port, called=TITLE, tls=False, **more)


@contextmanager
def finding(answers: Callable[[], Iterator[tuple[int, Dataset | None]]]) -> Iterator[int]:
    """An archive that answers a C-FIND as it is told to; gives its port."""
    entity = AE(ae_title=TITLE)
    entity.add_supported_context(Find)
    handlers = [(evt.EVT_C_FIND, lambda event: answers())]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def item(**values: str) -> Dataset:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def test_a_list_that_never_ends_is_given_up(tmp_path: Path) -> None:
    moments = count(0, 7)  # each look at the clock is 7 s later
    found = item(StudyInstanceUID="1.2", PatientID="1")
    with finding(lambda: repeat((0xFF00, found))) as port, pytest.raises(PacsError, match="was too slow"):
        Dimse(table(port, minutes=1), tmp_path, clock=lambda: next(moments)).studies({"PatientID": "1"})


def test_an_answer_of_any_length_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse, "_MOST_OF_LIST", 10_000)
    large = item(StudyInstanceUID="1.2", PatientID="1", PatientComments="x" * 20_000)
    with finding(lambda: iter([(0xFF00, large)])) as port, pytest.raises(PacsError, match="has no end"):
        Dimse(table(port), tmp_path).studies({"PatientID": "1"})


def test_other_patients_than_asked_for_are_not_taken(tmp_path: Path) -> None:
    others = [(0xFF00, item(StudyInstanceUID=f"1.{number}", PatientID=f"{number}")) for number in (1, 2)]
    with finding(lambda: iter(others)) as port:
        archive = Dimse(table(port), tmp_path)
        assert archive.studies({"PatientID": "1"}) == ["1.1"]
        with pytest.raises(PacsError, match="what was not asked for"):
            archive.studies({"PatientID": "3"})


def test_a_length_that_none_has_is_not_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(b"\x02\0\xff\xff\xff\xff" + b"x" * 100)  # 4 GiB of an acceptance
                connection.recv(1)

        listening = threading.Thread(target=listen)
        listening.start()
        with pytest.raises(UnreachableError, match="sends what has no end"):
            Dimse(table(listener.getsockname()[1]), tmp_path).studies({"PatientID": "1"})
        listening.join()


@contextmanager
def open_receiver(host: str = "127.0.0.1") -> Iterator[tuple[int, list[Dataset]]]:
    """Where an archive at an address may send to; gives the port, and what has come."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = table(104, receive_port=port, receive_address="127.0.0.1").model_copy(update={"host": host})
    came: list[Dataset] = []

    def store(event: evt.Event) -> int:
        came.append(event.dataset)
        return 0x0000

    contexts = [build_context(MRImageStorage, [ExplicitVRLittleEndian])]
    with receiving(own, contexts, store, Arrivals(60, 2**20), None):
        yield port, came


def sent(port: int, title: str) -> bool:
    """Send an image under a title; return whether it was taken."""
    entity = AE(ae_title=title)
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="WARDROUND")
    if not association.is_established:
        return False
    image = item(SOPClassUID=MRImageStorage, SOPInstanceUID="1.2.3")
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    status = association.send_c_store(image)
    association.release()
    return bool(status) and status.Status == 0


def test_only_the_archive_may_send() -> None:
    with open_receiver() as (port, came):
        assert not sent(port, "STRANGER")
        assert came == []
        assert sent(port, TITLE)
        assert [one.SOPInstanceUID for one in came] == ["1.2.3"]
    assert not sent(port, TITLE)  # it is open for as long as something is asked for
    with open_receiver("127.0.0.2") as (port, came):
        assert not sent(port, TITLE)  # its title, from another machine
        assert came == []


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("receive_port = 11112", "over TLS it needs certificate"),
        ('tls = false\nreceive_address = "10.0.0.1"', "receive_address: needs receive_port"),
        ("receive_port = 0", "receive_port"),
    ],
)
def test_settings_that_nothing_could_be_sent_by(tmp_path: Path, keys: str, problem: str) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text(f'[dimse]\nhost = "pacs"\nport = 104\ncalled = "A"\n{keys}\n')
    with pytest.raises(PacsError, match=problem):
        read_source(str(path))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = table(104, receive_port=taken.getsockname()[1])
        with pytest.raises(PacsError, match=r"can't be used on 127\.0\.0\.1"):
            list(Dimse(own, tmp_path).files(ListedSeries("1.2", "1.2.3", "MR", 1)))
