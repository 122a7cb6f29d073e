"""An archive that speaks DIMSE: C-FIND says what it has, C-GET gives files (PS3.4 C)."""

import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, StoragePresentationContexts
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as Get,
)

from client.pacs.answers import MOST_LISTED, count
from client.pacs.archive_settings import PacsError
from client.pacs.pull_settings import DimseTable
from client.pacs.source import ListedSeries, MissingError, RefusedError, UnreachableError, held

_PATIENCE = 60.0  # seconds for an answer
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_MOST_CONTEXTS = 126  # of 128, besides those of the questions
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
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
            self._get(series, Path(folder))
            for path in sorted(Path(folder).iterdir()):
                yield _pieces(path)
                path.unlink()

    def _get(self, series: ListedSeries, folder: Path) -> None:
        begin, count = self._clock(), 0

        def store(event: evt.Event) -> int:
            nonlocal count
            content = event.encoded_dataset()
            count += 1
            (folder / f"{count:06}").write_bytes(content)
            self._pace(len(content))
            return _OUT_OF_RESOURCES if self._clock() - begin > self._table.minutes * 60 else _SUCCESS

        wanted = _query("SERIES", {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid})
        storing = [context for context in StoragePresentationContexts if context.abstract_syntax][
            :_MOST_CONTEXTS
        ]
        with self._associated(Get, storing, store) as association:
            status = [answer for answer, _ in association.send_c_get(wanted, Get)][-1]
        if self._clock() - begin > self._table.minutes * 60:
            raise PacsError("was too slow, and was given up", where=self.host)
        if not status:
            raise UnreachableError("did not answer in time", where=self.host)
        if status.Status != _SUCCESS:
            raise PacsError(f"did not send all of it (status {status.Status:04X}H)", where=self.host)
        if not count:
            raise MissingError("is no longer in the archive")

    def _found(self, level: str, query: Mapping[str, str]) -> list[Dataset]:
        found: list[Dataset] = []
        with self._associated(Find) as association:
            for status, item in association.send_c_find(_query(level, query), Find):
                if not status:
                    raise UnreachableError("did not answer in time", where=self.host)
                if status.Status in _PENDING and item is not None:
                    found.append(item)
                    if len(found) > MOST_LISTED:
                        raise PacsError("answers with a list that has no end", where=self.host)
                elif status.Status != _SUCCESS:
                    raise PacsError(f"refuses the question (status {status.Status:04X}H)", where=self.host)
        return found

    @contextmanager
    def _associated(
        self,
        service: str,
        storing: list[PresentationContext] | None = None,
        store: Callable[[evt.Event], int] | None = None,
    ) -> Iterator[Association]:
        """Give a connection for one question."""
        table, entity = self._table, AE(ae_title=self._table.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _PATIENCE
        entity.connection_timeout = _PATIENCE
        entity.add_requested_context(service)
        for context in storing or ():
            entity.add_requested_context(context.abstract_syntax, _PLAIN)
        association = entity.associate(
            table.host,
            table.port,
            ae_title=table.called,
            ext_neg=[build_role(context.abstract_syntax, scp_role=True) for context in storing or ()],
            evt_handlers=[(evt.EVT_C_STORE, store)] if store else [],
            tls_args=(self._context(), table.host) if table.tls else None,
        )
        if association.is_rejected:
            raise RefusedError(
                f"refuses '{table.calling}'",
                where=self.host,
                remedy="The archive must know this title (AE) and this machine; see [dimse] in docs/pacs.md.",
            )
        if not association.is_established:
            raise UnreachableError("can't be reached", where=self.host)
        try:
            if service not in {context.abstract_syntax for context in association.accepted_contexts}:
                raise RefusedError(
                    f"does not take {'C-GET' if service == Get else 'C-FIND'} from '{table.calling}'",
                    where=self.host,
                    remedy="The archive must allow it to this title (AE); see [dimse] in docs/pacs.md.",
                )
            yield association
        finally:
            association.release()

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._table.authority)
        except OSError as error:
            raise PacsError(f"can't be read as certificates ({error})", where=self._table.authority) from None


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
    except (ValueError, TypeError, OverflowError):
        return ""


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
