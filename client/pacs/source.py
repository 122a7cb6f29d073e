"""What a pull asks of an archive, whichever way it is spoken to."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from client.pacs.archive_settings import PacsError

T = TypeVar("T")
WHO = ("PatientID", "AccessionNumber", "StudyInstanceUID")
"""What names a patient or a study whole; every archive gives it back (PS3.18 10.6.3.3, PS3.4 C.6.2.1)."""
SIGNS = frozenset("*?\\")
"""What stands for others in a query."""


_UID = re.compile(r"(?=.*[0-9])[0-9.]{1,64}")  # not "..", which a URL goes up by


class MissingError(PacsError):
    """What the archive no longer has."""


class RefusedError(PacsError):
    """An account that may not read."""


class ForbiddenError(RefusedError):
    """What an account may not read, and may be all that it may not."""


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


def require_uid(text: str) -> str:
    """Return a UID: what an archive calls a study or a series may stand in a URL, or in the next question.

    Raises:
        PacsError: It is none.
    """
    if not _UID.fullmatch(text):
        raise PacsError("names what is not a UID")
    return text


def held(
    query: Mapping[str, str], answers: Sequence[T], value: Callable[[T, str], str], host: str
) -> list[T]:
    """Return the answers that are of whom was asked for: a keyword that an archive ignores finds others.

    Patients, studies and accession numbers that are named whole are compared; other keywords of a query, and
    values with signs that stand for others, are the archive's to understand.

    Args:
        query: Values by keyword.
        answers: What the archive gave.
        value: Return an answer's value of a keyword.
        host: The archive, for messages.

    Raises:
        PacsError: None is.
    """
    exact = {
        name: wanted.strip() for name, wanted in query.items() if name in WHO and not set(wanted) & SIGNS
    }
    kept = [one for one in answers if all(value(one, name).strip() == exact[name] for name in exact)]
    if answers and not kept:
        raise PacsError("answers with what was not asked for", where=host)
    return kept


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
