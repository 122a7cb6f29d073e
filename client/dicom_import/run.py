"""An import: headers are read, rows are chosen, files are put into their places, and last comes the manifest.

All of it follows from the files, the rules and the key. An import that was killed is asked for again: what it
knew of headers it still knows, files that are in their place stay, and the manifest is replaced as a whole.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.data.check.doubtful_results import as_meant
from client.dicom_import.choose import Choice, Row
from client.dicom_import.clean_copies import cleaner
from client.dicom_import.deidentify import PROFILE
from client.dicom_import.hospital_table import HospitalTable
from client.dicom_import.index import Index
from client.dicom_import.manifest import columns_of, csv_bytes, row_of
from client.dicom_import.place import IMAGES, How, Packed, Placing, unpack
from client.dicom_import.pseudonyms import Pseudonyms
from client.dicom_import.report import Report, kind
from client.dicom_import.rules import Rules
from client.dicom_import.scan import ARCHIVE, scan
from client.dicom_import.sources import require_apart
from client.settings.cohort_key import make_secret
from shared.errors import DataError
from shared.files import Lock, replace_file

MANIFEST, NAMES = "manifest.csv", "pseudonyms.csv"
_WHO = ("patient_id", "accession_number", "study_uid", "patient", "study")
Progress = Callable[[str, int, int | None], None]
"""Called with what is done, how many more of it are, and of how many if that is known."""


@dataclass(frozen=True)
class Import:
    """What is asked for.

    Attributes:
        sources: Folders, files and archives.
        out: The dataset.
        key: File with the hospital's key; made if missing.
        table: Of the hospital, for `[table]` of the rules.
        how: Files are linked, copied as they are, or copied without what identifies.
        allow_burned_in: Copy also where text may stand in the pixels.
        processes: How many read headers.
    """

    sources: Sequence[Path]
    out: Path
    rules: Rules
    key: Path
    table: Path | None = None
    how: How = "link"
    allow_burned_in: bool = False
    processes: int = 1

    @property
    def records(self) -> Path:
        """What the hospital keeps beside the dataset: it names patients."""
        return self.out.with_name(f"{self.out.name}.import")


def run_import(asked: Import, progress: Progress) -> Report:
    """Import DICOM files into a dataset, new or begun before.

    Raises:
        DataError: The sources, the key, the table or the dataset can't be used.
        CredentialError: The key can't be.
    """
    require_apart(list(asked.sources), asked.out)
    table = HospitalTable.read(asked.table, asked.rules.table)
    try:
        with begun(asked) as (index, names):
            scan(
                asked.sources, index, asked.processes, lambda count: progress("Reading headers", count, None)
            )
            _require_same_kind(asked, index)
            report = Report(asked.records, PROFILE if asked.how == "deidentify" else None)
            with cleaner(names, asked.processes) as clean:
                own = clean if asked.how == "deidentify" else None
                placing = Placing(asked.out, names, asked.how, asked.allow_burned_in, own)
                dataset = _Dataset(asked.rules, placing, table, report)
                dataset.fill(index, progress)
            _finish(asked, index, dataset, report)
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=error.filename or asked.out) from None
    return report


@contextmanager
def begun(asked: Import) -> Iterator[tuple[Index, Pseudonyms]]:
    """Give the index of a dataset that nobody else imports into meanwhile, and the hospital's pseudonyms.

    Raises:
        DataError: The dataset is not an import's, somebody else is at work, or the key is another one.
        CredentialError: The key can't be used.
    """
    make_records(asked)
    try:
        lock = Lock(asked.records, wait=False)
    except BlockingIOError:
        raise DataError("is being imported into by another process", where=asked.out) from None
    with lock, closing(Index(asked.records / "index.sqlite")) as index:
        yield index, _names(asked, index)


def make_records(asked: Import) -> None:
    """Make the folder of what the hospital keeps beside a dataset.

    Raises:
        DataError: The dataset is not an import's, or can't be made.
    """
    out, records = asked.out, asked.records
    if out.exists() and not records.exists():
        raise DataError(
            "is there already, and no import made it", where=out, remedy="Name another folder with --out."
        )
    if not out.parent.is_dir():
        raise DataError("can't be made: the folder in which it would lie is not there", where=out)
    records.mkdir(mode=0o700, exist_ok=True)


def _names(asked: Import, index: Index) -> Pseudonyms:
    names = Pseudonyms(make_secret(asked.key))
    known = index.get("key")
    if known not in (None, names.check):
        raise DataError(
            "is another key than that of the dataset's pseudonyms: each patient would be two",
            where=asked.key,
            remedy="Give the key of its first import with --key.",
        )
    index.put("key", names.check)
    return names


def _require_same_kind(asked: Import, index: Index) -> None:
    """Refuse to mix files that name patients with copies that do not."""
    kind = "de-identified" if asked.how == "deidentify" else "as they are"
    if index.get("files") not in (None, kind):
        raise DataError(
            f"its files were imported {index.get('files')}, and would now be {kind}",
            where=asked.out,
            remedy="Name another folder with --out.",
        )
    index.put("files", kind)


class _Dataset:
    """The dataset while it is put together: texts, no headers."""

    def __init__(self, rules: Rules, placing: Placing, table: HospitalTable, report: Report) -> None:
        self.rows: list[tuple[str, ...]] = []
        self.who: set[tuple[str, ...]] = set()
        self.folders: set[Path] = set()
        self._rules, self._placing, self._table, self._report = rules, placing, table, report

    def fill(self, index: Index, progress: Progress) -> None:
        """Choose rows and put their files into their places."""
        for where, problem in index.problems():
            if problem != ARCHIVE:
                self._report.skip("file", problem, where)
        self._placing.out.mkdir(mode=0o700, exist_ok=True)
        choice, total = Choice(self._rules, self._report), index.count_patients()
        packed: list[Packed] = []
        meant: Counter[str] = Counter()
        for patient, found in index.patients():
            before = len(self.rows)
            for row in choice.rows(patient, found):
                packed += self._add(row)
            if len(self.rows) > before:
                self._report.used["patients"] += 1
                meant[as_meant(patient)] += 1
            progress("Sorting", 1, total)
        self._report.alike = sum(count > 1 for count in meant.values())
        self.rows.sort()
        unpack(packed, self._placing.names, lambda count: progress("Unpacking", count, len(packed)))

    def _add(self, row: Row) -> list[Packed]:
        """Put the files of a row into their places, and return those that lie in archives."""
        placing, report = self._placing, self._report
        try:
            cells = self._table.cells(row)
            packed = [packed for series in row.series.values() for packed in placing.place(series)]
        except DataError as error:
            if error.where is not None:  # of the dataset or the disk, not of this row
                raise
            report.skip("row", kind(error.problem), row.first.files[0].shown)
            for series in row.series.values():
                report.skip_series(series, "its row was left out")
            return []
        self.rows.append(row_of(row, self._rules, placing, cells))
        self.who.update(placing.names.who(series) for series in row.series.values())
        self.folders.update(placing.folder(series) for series in row.series.values())
        if placing.how == "deidentify":
            for series in row.series.values():
                report.copied(series)
        report.used["rows"] += 1
        report.used["series"] += len(row.series)
        report.used["files"] += sum(len(series.files) for series in row.series.values())
        return packed


def _finish(asked: Import, index: Index, made: _Dataset, report: Report) -> None:
    """Write the manifest, and remove what it no longer names."""
    content = csv_bytes([columns_of(asked.rules), *made.rows])
    path = asked.out / MANIFEST
    _require_own(path, index, content)
    replace_file(asked.records / NAMES, csv_bytes([_WHO, *sorted(made.who)]))
    replace_file(path, content)
    index.put("manifest", hashlib.sha256(content).hexdigest())
    _remove_others(asked.out, made.folders)
    report.write()


def _require_own(path: Path, index: Index, content: bytes) -> None:
    """Refuse to replace a manifest that somebody has changed since it was written."""
    new = hashlib.sha256(content).hexdigest()
    if path.exists():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found not in (index.get("manifest"), index.get("next manifest"), new):
            raise DataError(
                "was changed since it was imported, and would be replaced",
                where=path,
                remedy="Keep your changes in a copy with another name (wardround data join writes one).",
            )
    index.put("next manifest", new)


def _remove_others(out: Path, folders: set[Path]) -> None:
    kept = {part for folder in folders for part in (folder, *folder.parents)}
    for folder in sorted((out / IMAGES).glob("*/*/*")):
        if folder.relative_to(out) not in kept:
            shutil.rmtree(folder)
    for pattern in ("*/*", "*"):
        for folder in (out / IMAGES).glob(pattern):
            if folder.relative_to(out) not in kept:
                folder.rmdir()
