"""An archive that speaks DIMSE: C-FIND says what it has, C-GET or C-MOVE gives files (PS3.4 C)."""

import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import StoragePresentationContexts
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as Get,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove as Move,
)

from client.pacs.answers import MOST_LISTED, count
from client.pacs.archive_settings import PacsError
from client.pacs.arrivals import Arrivals
from client.pacs.pull_settings import DimseTable
from client.pacs.receiver import receiving
from client.pacs.source import ListedSeries, MissingError, RefusedError, UnreachableError, held

_PATIENCE = 60.0  # seconds for an answer
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_UNKNOWN_DESTINATION = 0xA801
_NO_DESTINATION = "The archive must know where this title (AE) is: this machine, and receive_port of [dimse]."
_MOST_OF_FILE, _MOST_OF_LIST = 2**31, 2**27  # bytes, in memory
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_NAMES = {Find: "C-FIND", Get: "C-GET", Move: "C-MOVE"}
_MOST_CONTEXTS = 126  # of 128, besides those of the questions
_STORED = [context.abstract_syntax for context in StoragePresentationContexts if context.abstract_syntax][
    :_MOST_CONTEXTS
]
Store = Callable[[evt.Event], int]
"""Takes an object that comes, and returns its status."""
_PIECE = 2**20


class Dimse:
    """An archive's DIMSE service.

    Args:
        table: Where it is.
        folder: Where files lie while they come.
        pace: Called with the bytes of each file that came.
        clock: Seconds, from anywhere on.
    """

    def __init__(
        self,
        table: DimseTable,
        folder: Path,
        pace: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table, self._folder, self._pace, self._clock = table, folder, pace, clock

    @property
    def host(self) -> str:
        """The archive, for messages."""
        return self._table.host

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """Return the UIDs of the studies that a query finds; see `Source`."""
        answers = self._found("STUDY", {"StudyInstanceUID": "", **query})
        found = held(query, answers, _text, self.host)
        return sorted({_text(item, "StudyInstanceUID") for item in found} - {""})

    def series(self, study: str) -> list[ListedSeries]:
        """Return the series of a study; see `Source`."""
        asked = dict.fromkeys(("SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"), "")
        found = [
            ListedSeries(
                study,
                _text(item, "SeriesInstanceUID"),
                _text(item, "Modality"),
                count(_text(item, "NumberOfSeriesRelatedInstances")) or None,
            )
            for item in self._found("SERIES", {"StudyInstanceUID": study, **asked})
        ]
        if not found:
            raise MissingError("is no longer in the archive")
        return sorted((one for one in found if one.uid), key=lambda one: one.uid)

    def files(self, series: ListedSeries) -> Iterator[Iterator[bytes]]:
        """Give the files of a series; see `Source`."""
        with tempfile.TemporaryDirectory(prefix=".coming-", dir=self._folder) as folder:
            self._fetch(series, Path(folder))
            for path in sorted(Path(folder).iterdir()):
                yield _pieces(path)
                path.unlink()

    def _fetch(self, series: ListedSeries, folder: Path) -> None:
        """Ask for a series, each file of which comes into the folder."""
        arrivals, stored = self._arrivals(_MOST_OF_FILE), _Stored(folder, self._pace)

        def store(event: evt.Event) -> int:
            if arrivals.is_late:
                return _OUT_OF_RESOURCES
            arrivals.taken(stored.add(event.encoded_dataset()))
            return _SUCCESS

        wanted = _query("SERIES", {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid})
        status = (self._move if self._table.receive_port else self._get)(wanted, store, arrivals)
        self._require(status, arrivals)
        if status.Status != _SUCCESS:
            raise PacsError(
                f"did not send all of it (status {status.Status:04X}H)",
                where=self.host,
                remedy=_NO_DESTINATION if status.Status == _UNKNOWN_DESTINATION else None,
            )
        if not stored.count:
            raise MissingError("is no longer in the archive")

    def _get(self, wanted: Dataset, store: Store, arrivals: Arrivals) -> Dataset:
        with self._associated(Get, arrivals, store) as association:
            return _last(association.send_c_get(wanted, Get))

    def _move(self, wanted: Dataset, store: Store, arrivals: Arrivals) -> Dataset:
        tls = self._context(ssl.Purpose.CLIENT_AUTH) if self._table.tls else None
        contexts = [build_context(syntax, _PLAIN) for syntax in _STORED]
        with (
            receiving(self._table, contexts, store, arrivals, tls),
            self._associated(Move, arrivals) as association,
        ):
            return _last(association.send_c_move(wanted, self._table.calling, Move))

    def _found(self, level: str, query: Mapping[str, str]) -> list[Dataset]:
        found: list[Dataset] = []
        arrivals = self._arrivals(_MOST_OF_LIST)
        with self._associated(Find, arrivals) as association:
            for status, item in association.send_c_find(_query(level, query), Find):
                self._require(status, arrivals)
                if status.Status in _PENDING and item is not None:
                    found.append(item)
                    if len(found) > MOST_LISTED:
                        raise PacsError("answers with a list that has no end", where=self.host)
                elif status.Status != _SUCCESS:
                    raise PacsError(f"refuses the question (status {status.Status:04X}H)", where=self.host)
        return found

    def _arrivals(self, most: int) -> Arrivals:
        return Arrivals(self._table.minutes * 60, most, self._clock)

    def _require(self, status: Dataset, arrivals: Arrivals) -> None:
        """Refuse an answer that did not come, or came too late."""
        if arrivals.problem or arrivals.is_late:
            raise PacsError(arrivals.problem or "was too slow, and was given up", where=self.host)
        if "Status" not in status:
            raise UnreachableError("did not answer in time", where=self.host)

    @contextmanager
    def _associated(
        self, service: str, arrivals: Arrivals, store: Store | None = None
    ) -> Iterator[Association]:
        """Give a connection for one question; with `store` the answer comes over it, too."""
        table, entity = self._table, AE(ae_title=self._table.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _PATIENCE
        entity.connection_timeout = _PATIENCE
        entity.add_requested_context(service)
        storing = _STORED if store else []
        for syntax in storing:
            entity.add_requested_context(syntax, _PLAIN)
        handlers: list[tuple[Any, Any]] = [(evt.EVT_CONN_OPEN, arrivals.watch)]
        association = entity.associate(
            table.host,
            table.port,
            ae_title=table.called,
            ext_neg=[build_role(syntax, scp_role=True) for syntax in storing],
            evt_handlers=handlers + ([(evt.EVT_C_STORE, store)] if store else []),
            tls_args=(self._context(), table.host) if table.tls else None,
        )
        if association.is_rejected:
            raise RefusedError(
                f"refuses '{table.calling}'",
                where=self.host,
                remedy="The archive must know this title (AE) and this machine; see [dimse] in docs/pacs.md.",
            )
        if not association.is_established:
            raise UnreachableError(arrivals.problem or "can't be reached", where=self.host)
        try:
            if service not in {context.abstract_syntax for context in association.accepted_contexts}:
                raise RefusedError(
                    f"does not take {_NAMES[service]} from '{table.calling}'",
                    where=self.host,
                    remedy="The archive must allow it to this title (AE); see [dimse] in docs/pacs.md.",
                )
            yield association
        except BaseException:
            association.abort()  # what is still to come is not waited for
            raise
        association.release()

    def _context(self, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> ssl.SSLContext:
        """Return how TLS is spoken: as who asks, or as who is sent to; both ends are checked."""
        table = self._table
        try:
            context = ssl.create_default_context(purpose, cafile=table.authority)
        except OSError as error:
            raise PacsError(f"can't be read as certificates ({error})", where=table.authority) from None
        context.verify_mode = ssl.CERT_REQUIRED
        if table.certificate is not None:
            try:
                context.load_cert_chain(table.certificate)
            except OSError as error:
                raise PacsError(
                    f"can't be read as a certificate with its key ({error})", where=table.certificate
                ) from None
        return context


class _Stored:
    """Files as they come, maybe over several connections at once."""

    def __init__(self, folder: Path, pace: Callable[[int], None]) -> None:
        self._folder, self._pace, self._lock = folder, pace, threading.Lock()
        self.count = 0

    def add(self, content: bytes) -> int:
        """Write a file; return its length."""
        with self._lock:
            self.count += 1
            (self._folder / f"{self.count:06}").write_bytes(content)
            self._pace(len(content))
        return len(content)


def _last(answers: Iterable[tuple[Dataset, Any]]) -> Dataset:
    """Return the last status; those before it say that more is to come."""
    last = Dataset()
    for last, _ in answers:  # noqa: B007 (the last is what is wanted)
        pass
    return last


def _query(level: str, values: Mapping[str, Any]) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _text(item: Dataset, keyword: str) -> str:
    """Return one value of an answer; nothing where it is not of its kind."""
    try:
        return str(item.get(keyword) or "").strip()
    except Exception:  # whatever a library raises on a value that is none
        return ""


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
