"""An archive that gives other files than it was asked for, whichever way it is spoken to."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from client.pacs.pull import Pull, Pulled
from client.pacs.source import ListedSeries
from tests.client.dicom_import.heaps import write_series

Change = Callable[[list[Path], Path], list[Path]]


class Archive:
    """Gives the files that it is told to."""

    host = "pacs.example"

    def __init__(self, files: Sequence[Path], study: str = "1.2.7", series: str = "1.2.7.1") -> None:
        self._files, self._study, self._series = files, study, series

    def studies(self, query: object) -> list[str]:
        return [self._study]

    def series(self, study: str) -> list[ListedSeries]:
        return [ListedSeries(study, self._series, "MR", 3)]

    def files(self, series: ListedSeries) -> Iterator[Iterator[bytes]]:
        for path in self._files:
            yield iter([path.read_bytes()])


def pulled(folder: Path, archive: Archive) -> tuple[dict[str, int], list[Path]]:
    pull = Pull(
        archive, folder / "pulled", folder / ".coming", str, None, lambda *_, **__: None, lambda: None
    )
    told = Pulled()
    pull.run([("ACC7", {"AccessionNumber": "ACC7"})], told, lambda: None)
    return dict(told.skipped), list((folder / "pulled").rglob("*.dcm"))


def foreign(number: int) -> Change:
    """Return what puts a file of another study, or series, in the place of one."""
    return lambda own, folder: [*own[:2], write_series(folder / "other", "B", 8 - number, 2, "t1")[0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (foreign(0), "sends what was not asked for"),  # of another patient
        (foreign(1), "sends what was not asked for"),  # of another series of the study
        (lambda own, _: [own[0], own[0], own[1]], "sent a part of a series alone"),  # one image twice
        (lambda own, _: own[:2], "sent a part of a series alone"),
    ],
)
def test_what_was_not_asked_for_gets_nowhere(tmp_path: Path, change: Change, reason: str) -> None:
    own = write_series(tmp_path / "in", "A", 7, 1, "t1")
    assert pulled(tmp_path, Archive(change(own, tmp_path))) == ({reason: 1}, [])


@pytest.mark.parametrize(
    ("study", "series"), [("../../etc", "1.2.7.1"), ("1.2.7", ".."), ("*", "1"), ("1\\2", "1")]
)
def test_a_uid_that_is_none_is_asked_for_no_further(tmp_path: Path, study: str, series: str) -> None:
    own = write_series(tmp_path / "in", "A", 7, 1, "t1")
    assert pulled(tmp_path, Archive(own, study, series)) == ({"names what is not a UID": 1}, [])


def test_what_was_asked_for_comes(tmp_path: Path) -> None:
    told, files = pulled(tmp_path, Archive(write_series(tmp_path / "in", "A", 7, 1, "t1")))
    assert (told, len(files)) == ({}, 3)
