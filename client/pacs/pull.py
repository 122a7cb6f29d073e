"""Studies out of an archive, into a folder: each series is there whole or not, so a killed pull goes on."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from client.dicom_import.headers import header_of, text
from client.pacs.archive_settings import PacsError
from client.pacs.source import (
    ForbiddenError,
    ListedSeries,
    MissingError,
    RefusedError,
    Source,
    UnreachableError,
    require_uid,
)
from shared.errors import DataError

T = TypeVar("T")
_IN_A_ROW = 3  # studies that fail because nobody answers, after which nobody will
_ATTEMPTS = 2
_MOST_BYTES = 2**33  # of one file
_MOST_FILES = 100_000  # of one series
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
Log = Callable[..., None]
"""Writes an entry of the audit log."""


@dataclass
class Pulled:
    """What came of a pull.

    Attributes:
        studies: That are here now, those of earlier pulls too.
        files: That came.
        skipped: Studies or accession numbers that did not come, by reason.
        problems: Each of them: (which, why).
        unanswered: How many in a row nobody answered.
        is_let_in: Whether the account was given an answer: what it is refused now is that alone.
    """

    studies: int = 0
    files: int = 0
    bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    unanswered: int = 0
    is_let_in: bool = False

    def skip(self, which: str, reason: str) -> None:
        """Count a study that did not come."""
        self.skipped[reason] += 1
        self.problems.append((which, reason))


@dataclass(frozen=True)
class Pull:
    """Takes studies out of an archive.

    Attributes:
        archive: Where they are.
        folder: Where they go: a folder for each study, in it one for each series.
        coming: Where a series lies until all of it came, on the same disk; emptied before and after.
        stands_for: Return what a study or series is called there, and in the audit log.
        modalities: Those that are wanted; None takes all.
        log: The audit log.
        wait: Called before each study: it may not be the hour.
    """

    archive: Source
    folder: Path
    coming: Path
    stands_for: Callable[[str], str]
    modalities: frozenset[str] | None
    log: Log
    wait: Callable[[], None]

    def run(
        self, queries: Iterable[tuple[str, Mapping[str, str]]], pulled: Pulled, done: Callable[[], None]
    ) -> None:
        """Take the studies that queries find.

        Args:
            queries: What is asked for, as a person knows it, and as the archive is asked; empty where it
                can't be.
            pulled: Is told what came of it, as it comes.
            done: Called after each.

        Raises:
            PacsError: The account is refused, or nobody answers any more; what came is there.
            OSError: A file can't be written.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._sweep()
        self.coming.mkdir(mode=0o700)
        try:
            for which, query in queries:
                self._query(which, query, pulled)
                done()
        finally:
            self._sweep()

    def _sweep(self) -> None:
        """Remove what came in part, of a pull that was killed too: it would be taken for a whole series."""
        for left in (
            *self.coming.parent.glob(f"{self.coming.name}*"),
            *self.folder.glob("*/*.part"),  # where earlier versions left it
        ):
            shutil.rmtree(left)

    def _query(self, which: str, query: Mapping[str, str], pulled: Pulled) -> None:
        self.wait()
        studies: list[str] = []
        self._tried(which, partial(self._list, which, query, studies, pulled), pulled)
        for study in studies:
            self.wait()
            shown = which if len(studies) == 1 else f"{which}: {study}"
            self._tried(shown, partial(self._study, study, pulled), pulled)

    def _tried(self, which: str, do: Callable[[], None], pulled: Pulled) -> None:
        """Do something with the archive; what it does not give is counted, and the next is asked for."""
        try:
            do()
        except RefusedError as error:
            if not (isinstance(error, ForbiddenError) and pulled.is_let_in):
                raise
            self._skip(which, error.problem, pulled)
        except UnreachableError as error:
            pulled.unanswered += 1
            self._skip(which, error.problem, pulled)
            if pulled.unanswered == _IN_A_ROW:
                remedy = "The same command goes on where this ended."
                raise PacsError(error.problem, where=error.where, remedy=remedy) from None
        except PacsError as error:
            self._skip(which, error.problem, pulled)
        else:
            pulled.unanswered = 0

    def _list(self, which: str, query: Mapping[str, str], studies: list[str], pulled: Pulled) -> None:
        if not query:
            self._skip(which, "has a sign that stands for others (* ? \\)", pulled)
            return
        studies += map(require_uid, _again(lambda: self.archive.studies(query)))
        pulled.is_let_in = True
        if not studies:
            self._skip(which, "is not in the archive", pulled)

    def _skip(self, which: str, reason: str, pulled: Pulled) -> None:
        pulled.skip(which, reason)
        self.log("study-not-pulled", sha256=self.stands_for(which), reason=reason)

    def _study(self, study: str, pulled: Pulled) -> None:
        """Take the series of a study that are not here as the archive has them."""
        folder = self.folder / self.stands_for(study)
        folder.mkdir(mode=0o700, exist_ok=True)
        files, size = 0, 0
        for series in _again(lambda: self.archive.series(study)):
            require_uid(series.uid)
            if self.modalities is not None and series.modality.upper() not in self.modalities:
                continue
            place = folder / self.stands_for(series.uid)
            if not _is_here(place, series):
                if not files:  # nothing comes that is not in the log, whenever this is killed
                    self.log("study-asked-for", sha256=self.stands_for(study))
                came = _again(partial(self._series, series, place))
                files, size = files + came[0], size + came[1]
        if files:
            self.log("study-pulled", sha256=self.stands_for(study), examples=files, bytes=size)
        pulled.studies += 1
        pulled.files += files
        pulled.bytes += size

    def _series(self, series: ListedSeries, place: Path) -> tuple[int, int]:
        """Take a series; return its files and their bytes."""
        part = self.coming / place.name
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        known, count, size = set[str](), 0, 0
        for pieces in self.archive.files(series):
            count += 1
            if count > _MOST_FILES:
                raise PacsError("sends a series that has no end", where=self.archive.host)
            path = part / f"{count:06}.dcm"
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                    if file.tell() > _MOST_BYTES:
                        raise PacsError("sends a file that has no end", where=self.archive.host)
                size += file.tell()
            known.add(self._image(path, series))
        if len(known) < (series.count or 1):
            raise PacsError("sent a part of a series alone", where=self.archive.host)
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
        return count, size

    def _image(self, path: Path, series: ListedSeries) -> str:
        """Return which image of the series a file has; one that nobody can read is one by itself.

        Raises:
            PacsError: It is of another series, which would get into the dataset.
        """
        try:
            header = header_of(path)
        except DataError:  # the import can't use it either, and names it
            return path.name
        study, own, image = (text(header, name) for name in _UIDS)
        if (study, own) != (series.study, series.uid):
            raise PacsError("sends what was not asked for", where=self.archive.host)
        return image


def _again(ask: Callable[[], T]) -> T:
    """Ask, and once more where it failed by chance."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return ask()
        except (MissingError, RefusedError):
            raise
        except PacsError:
            continue
    return ask()


def _is_here(place: Path, series: ListedSeries) -> bool:
    """Say whether a series came, and has not grown in the archive since."""
    if not place.is_dir():
        return False
    return series.count is None or len(list(place.iterdir())) >= series.count
