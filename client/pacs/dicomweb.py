"""What an archive has, and its files: QIDO-RS (PS3.18 10.6) and WADO-RS (10.4)."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from pydicom.datadict import tag_for_keyword

from client.pacs.answers import MOST_LISTED, PLAIN, count, parsed, require_plain, values
from client.pacs.archive_settings import PacsError
from client.pacs.multipart import Parts
from client.pacs.source import (
    WHO,
    ForbiddenError,
    ListedSeries,
    MissingError,
    RefusedError,
    UnreachableError,
    held,
    require_uid,
)

T = TypeVar("T")
_Item = dict[str, str]  # by tag
_JSON = {"accept": "application/dicom+json", **PLAIN}
_FILES = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*', **PLAIN}
_LARGEST_ANSWER = 2**26  # bytes of a list
_PAGE = 200  # of a list that is asked for at once
_PIECE = 2**16
STUDY, SERIES, MODALITY = "0020000D", "0020000E", "00080060"
COUNT_OF_SERIES = "00201209"  # Number of Series Related Instances
_TAGS = (STUDY, SERIES, MODALITY, COUNT_OF_SERIES, *(f"{tag_for_keyword(name) or 0:08X}" for name in WHO))


class DicomWeb:
    """An archive's DICOMweb service.

    Args:
        client: Logs in.
        url: Of the service.
        seconds: For one series: what takes longer is given up.
        pace: Called with the bytes of each piece that came, to hold up what comes too fast.
        clock: Seconds, from anywhere on.
    """

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        seconds: float,
        pace: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._url, self._seconds, self._pace, self._clock = client, url, seconds, pace, clock

    @property
    def host(self) -> str:
        """The archive, for messages."""
        return httpx.URL(self._url).host

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """Return the UIDs of the studies that a query finds; see `Source`."""
        names = [name for name in query if name in WHO]
        asked = {**query, **({"includefield": ",".join(names)} if names else {})}
        found = held(query, list(self._listed("studies", asked, STUDY)), _named, self.host)
        return sorted({item[STUDY] for item in found} - {""})

    def series(self, study: str) -> list[ListedSeries]:
        """Return the series of a study; see `Source`."""
        found = [
            ListedSeries(study, item[SERIES], item[MODALITY], count(item[COUNT_OF_SERIES]))
            for item in self._listed(
                f"studies/{require_uid(study)}/series", {"includefield": COUNT_OF_SERIES}, SERIES
            )
        ]
        if not found:
            raise MissingError("is no longer in the archive")
        return sorted((one for one in found if one.uid), key=lambda one: one.uid)

    def files(self, series: ListedSeries) -> Iterator[Iterator[bytes]]:
        """Give the files of a series; see `Source`."""
        url = f"{self._url}/studies/{require_uid(series.study)}/series/{require_uid(series.uid)}"
        yield from self._whole(self._parts(url))

    def _parts(self, url: str) -> Iterator[Iterator[bytes]]:
        with self._client.stream("GET", url, headers=_FILES) as answer:
            self._require(answer)
            for part in Parts(answer.headers.get("content-type", ""), self._pieces(answer)):
                yield self._whole(part)

    def _whole(self, pieces: Iterable[T]) -> Iterator[T]:
        """Give what comes; what goes wrong on the way is of the archive."""
        try:
            yield from pieces
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        except ValueError as error:
            raise self._malformed(error) from None

    def _malformed(self, error: ValueError) -> PacsError:
        return PacsError(f"sends what is not a series ({error})", where=self.host)

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        begin = self._clock()
        for piece in answer.iter_bytes(_PIECE):
            if self._clock() - begin > self._seconds:
                raise PacsError("was too slow, and was given up", where=self.host)
            self._pace(len(piece))
            yield piece

    def _listed(self, path: str, query: Mapping[str, str], uid: str) -> Iterator[_Item]:
        """Give the items of a list, each UID once: an archive gives as many at once as it likes."""
        begin, known = 0, set[str]()
        while begin < MOST_LISTED:
            paging = {"limit": str(_PAGE), "offset": str(begin)}
            page = self._asked(path, {**query, **paging})
            new = {item[uid]: item for item in page if item[uid] not in known}
            if not new:  # the end, or an archive that knows no offsets gives the same again
                return
            yield from new.values()
            known |= new.keys()
            begin += len(page)
        raise PacsError("answers with a list that has no end", where=self.host)

    def _asked(self, path: str, query: Mapping[str, str]) -> list[_Item]:
        try:
            with self._client.stream("GET", f"{self._url}/{path}", params=query, headers=_JSON) as answer:
                if answer.status_code == HTTPStatus.NO_CONTENT:
                    return []
                self._require(answer)
                content = bytearray()
                for piece in self._pieces(answer):
                    content += piece
                    if len(content) > _LARGEST_ANSWER:
                        raise PacsError("answers with a list of any length", where=self.host)
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        found = parsed(bytes(content) or b"[]")
        if not isinstance(found, list):
            raise PacsError("answers with what is not a list (DICOM JSON)", where=self.host)
        return [_item(item) for item in found if isinstance(item, dict)]

    def _require(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise MissingError("is no longer in the archive")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            remedy = "Name an account that may read: user and password, or token (docs/pacs.md)."
            kind = ForbiddenError if status == HTTPStatus.FORBIDDEN else RefusedError
            raise kind(f"refuses the account (status {status})", where=self.host, remedy=remedy)
        if status != HTTPStatus.OK:
            raise PacsError(f"answers with status {status}", where=self.host)
        require_plain(answer)

    def _unreached(self, error: httpx.HTTPError) -> UnreachableError:
        said = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "can't be reached"
        return UnreachableError(f"{said} ({type(error).__name__})", where=self.host)


def _item(said: Mapping[str, Any]) -> _Item:
    """Return what is asked for of one item: the rest may be as large, and as deep, as it likes."""
    firsts = {tag: next(iter(values(said, tag)), "") for tag in _TAGS}
    return {tag: str(first) if isinstance(first, str | int) else "" for tag, first in firsts.items()}


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword) or 0:08X}"


def _named(item: _Item, keyword: str) -> str:
    return item[_tag(keyword)]
