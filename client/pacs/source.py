"""What a pull asks of an archive, whichever way it is spoken to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from client.pacs.archive_settings import PacsError


class MissingError(PacsError):
    """What the archive no longer has."""


class RefusedError(PacsError):
    """An account that may not read."""


class UnreachableError(PacsError):
    """Nobody answers."""


@dataclass(frozen=True)
class ListedSeries:
    """A series that an archive has.

    Attributes:
        count: Its images, if the archive says that.
    """

    study: str
    uid: str
    modality: str
    count: int | None


class Source(Protocol):
    """An archive that studies are taken out of."""

    @property
    def host(self) -> str:
        """The archive, for messages."""

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """Return the UIDs of the studies that a query (values by keyword) finds.

        Raises:
            PacsError: The archive can't be reached, or refuses.
        """

    def series(self, study: str) -> list[ListedSeries]:
        """Return the series of a study.

        Raises:
            MissingError: There is no such study.
            PacsError: The archive can't be reached, or refuses.
        """

    def files(self, series: ListedSeries) -> Iterator[Iterator[bytes]]:
        """Give the files of a series, each in pieces that are to be taken before the next one.

        Raises:
            MissingError: There is no such series.
            PacsError: The archive can't be reached, refuses, is too slow or ends in the middle.
        """
