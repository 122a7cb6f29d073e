"""A dataset of a hospital: the manifest, a CSV with one row per image."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from client.data.images.mask_files import Mask, mask_files, masks_in
from client.data.manifest.csv_files import file_below, is_there, missing, read_table
from client.data.manifest.identity import CUT_REMEDY, cut, cut_ids, require_identity, require_unmarked
from shared.errors import DataError
from shared.text.names import suggestion

SPLITS = ("train", "val", "test")
_HOW = (
    "leave the row out, or say in the job of a classification or segmentation what becomes of such rows: "
    "[task.unlabelled] (docs/few-labels.md)."
)
NO_LABEL, NO_MASK = f"Fill it in, {_HOW}", f"Name a file, {_HOW}"
_NO_MASK = "the mask is empty"


@dataclass(frozen=True)
class Record:
    """One row of a manifest.

    Attributes:
        row: Its line in the file; the header is line 1, as a spreadsheet counts.
        images: The image's files (or DICOM folders), one a column of the job.
        cells: All cells, by their column.
        folder: The manifest's; names of files count from it.
        looked_up: What names of files led to: each is looked for on the disk once.
    """

    row: int
    patient: str
    images: tuple[Path, ...]
    label: str | None = None
    mask: Mask | None = None
    site: str | None = None
    split: str | None = None
    cells: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    looked_up: dict[str, Mask] = field(default_factory=dict, repr=False, compare=False)

    def files(self) -> list[Path]:
        """Return the images and, where there is one, the mask's files."""
        return [*self.images, *mask_files(self.mask)]

    def filled(self, column: str) -> str:
        """Return a cell.

        Raises:
            DataError: It is empty, or there is no such column.
        """
        cell = self.cells.get(column, "")
        if not cell:
            raise DataError(f"the {column} is empty")
        return cell

    def file(self, column: str) -> Path:
        """Return the file that a cell names.

        Raises:
            DataError: The cell is empty, or no path below the manifest.
        """
        return self.below(self.filled(column))

    def below(self, name: str) -> Path:
        """Return a file by its name as seen from the manifest.

        Raises:
            DataError: It is a path of Windows with a drive.
        """
        found = self._look(name, file_below)
        assert isinstance(found, Path)  # noqa: S101 (only a mask may be several)
        return found

    def mask_in(self, column: str) -> Mask:
        """Return the mask that a cell names.

        Raises:
            DataError: The cell is empty, lacks one of several files, or is not a path below the manifest.
        """
        return self._look(self.filled(column), mask_below)

    def _look(self, name: str, look: Callable[[Path, str], Mask]) -> Mask:
        try:
            return _looked_up(self.looked_up, self.folder, name, look)
        except ValueError as error:
            raise DataError(str(error)) from None


def _looked_up(known: dict[str, Mask], folder: Path, name: str, look: Callable[[Path, str], Mask]) -> Mask:
    """Look for a file on the disk, once: a row's files are asked for again and again."""
    key = f"{look.__name__} {name}"
    if key not in known:
        known[key] = look(folder, name)
    return known[key]


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest that can be used, and what is wrong with the others.

    Attributes:
        path: The CSV.
        columns: The columns that it has.
        problems: One error a bad row, in the order of the rows.
    """

    path: Path
    columns: tuple[str, ...]
    records: list[Record]
    problems: list[DataError]

    def of_site(self, name: str) -> "Manifest":
        """Return the manifest with the rows of one site alone.

        Raises:
            DataError: There is no column `site`, or no row with this name in it.
        """
        if "site" not in self.columns:
            raise DataError("has no column 'site'", where=self.path)
        if (own := self._by_site.get(name)) is None:
            raise DataError(
                f"has no rows of site '{name}'; {suggestion(name, set(self._by_site))}", where=self.path
            )
        return replace(self, records=own)

    @cached_property
    def _by_site(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.site or "", []).append(record)
        return found

    def at(self, record: Record) -> str:
        """Return where a record stands, for an error."""
        return f"{self.path}, row {record.row}"

    @contextmanager
    def reading(self, record: Record) -> Iterator[None]:
        """Add the record's row to every DataError raised inside."""
        try:
            yield
        except DataError as error:
            where = f"{self.at(record)}: {error.where}" if error.where else self.at(record)
            raise DataError(error.problem, where=where, remedy=error.remedy) from None

    def missing_files(
        self, records: Sequence[Record], files: Callable[[Record], Iterable[Path]]
    ) -> list[DataError]:
        """Return one error for each file that the records need and that is not there."""
        found = []
        for record in records:
            with self.reading(record):
                needed = list(files(record))
            found += [
                DataError(missing(file), where=f"{self.at(record)}: {file}")
                for file in needed
                if not is_there(file)
            ]
        return found


def manifest_path(path: Path) -> Path:
    """Return the CSV itself where a folder is given that holds a `manifest.csv`.

    Raises:
        DataError: There is no such file.
    """
    found = path / "manifest.csv" if path.is_dir() else path
    if not found.is_file():
        raise DataError("there is no manifest here", where=found, remedy=_instead(path))
    return found


def _instead(path: Path) -> str:
    """Say what may be meant, where a folder has no manifest."""
    tables = sorted(path.glob("*.csv")) if path.is_dir() else []
    if len(tables) == 1:
        return f"If '{tables[0].name}' is the table of the patients, give that file."
    if path.is_dir():
        return "Give the CSV that lists the images, or make it: `wardround data manifest FOLDER`."
    return "Give the CSV that lists the images."


def scan_manifest(
    path: Path,
    images: Sequence[str] = ("image",),
    needs: Sequence[str] = (),
    *,
    may_lack_images: bool = False,
    may_lack_masks: bool = False,
) -> Manifest:
    """Read a manifest and keep a list of its bad rows.

    Args:
        path: The CSV, or the folder that holds it as `manifest.csv`.
        images: The columns that hold the image's files.
        needs: Further columns that the task needs: 'label', 'mask'.
        may_lack_images: A row may have no image.
        may_lack_masks: A row may have no mask.

    Raises:
        DataError: The file is missing, can't be read, has no rows, or lacks a column.
    """
    path = manifest_path(path)
    header, rows = read_table(path)
    for name in ("patient", *images, *needs):
        if name not in header:
            raise DataError(f"has no column '{name}'; {suggestion(name, header)}", where=path)
    if not rows:
        raise DataError("has no rows", where=path)
    records, problems = [], []
    for number, cells in rows:
        try:
            own = dict(zip(header, cells, strict=True))
            if may_lack_images:
                _require_all_or_none(own, images)
            here = () if may_lack_images and not any(own[name] for name in images) else images
            filled = ("patient", *here, *(name for name in needs if name == "mask" and not may_lack_masks))
            records.append(_record(path.parent, number, own, here, filled))
        except ValueError as error:
            text = f"has {len(cells)} cell{'s' * (len(cells) != 1)}, but the header has {len(header)}"
            reason = str(error) if len(cells) == len(header) else text
            remedy = NO_MASK if reason == _NO_MASK else ""
            problems.append(DataError(reason, where=f"{path}, row {number}", remedy=remedy))
    return Manifest(path, header, records, problems + _cut(path, records) + _straddling(path, records))


def require(problems: Sequence[DataError]) -> None:
    """Raise the first problem, and say how many more there are."""
    if not problems:
        return
    first, more = problems[0], len(problems) - 1
    if not more:
        raise first
    remedy = f"{more} more; 'wardround data check' lists all of them."
    raise DataError(
        first.problem, where=first.where, remedy=f"{first.remedy} {remedy}" if first.remedy else remedy
    )


def _require_all_or_none(cells: Mapping[str, str], images: Sequence[str]) -> None:
    """Refuse a row that has some of its images: ValueError."""
    empty = [name for name in images if not cells[name]]
    if empty and len(empty) < len(images):
        raise ValueError(f"the {empty[0]} is empty; a row has all of its images or none")


def _record(
    folder: Path, row: int, cells: dict[str, str], images: Sequence[str], filled: Sequence[str]
) -> Record:
    """Build a record, of whose cells some are filled; ValueError says what is wrong with the row."""
    for name in filled:
        if not cells[name]:
            raise ValueError(f"the {name} is empty")
    require_identity(cells["patient"])
    require_unmarked(cells.get("site", ""), "site")
    split = cells.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split '{split}'; {suggestion(split, SPLITS)}")
    mask = cells.get("mask")
    known: dict[str, Mask] = {}
    files = [_looked_up(known, folder, cells[name], file_below) for name in images]
    return Record(
        row=row,
        patient=cells["patient"],
        images=tuple(file for file in files if isinstance(file, Path)),
        label=cells.get("label"),
        mask=_looked_up(known, folder, mask, mask_below) if mask else None,
        site=cells.get("site"),
        split=split,
        cells=cells,
        folder=folder,
        looked_up=known,
    )


def mask_below(folder: Path, cell: str) -> Mask:
    """Return the file that a cell names, the several of 'a|b', or those of a folder of masks.

    Raises:
        ValueError: One of the several is not named, or is a path of Windows with a drive.
    """
    whole = file_below(folder, cell)
    if "|" not in cell or is_there(whole):
        return masks_in(whole) or whole
    names = [name.strip() for name in cell.split("|")]
    if "" in names:
        raise ValueError(
            f"the mask '{cell}' lacks a file: name one for each class, an empty mask where it has none"
        )
    return tuple(file_below(folder, name) for name in names)


def _cut(path: Path, records: Sequence[Record]) -> list[DataError]:
    """Name the rows whose patient's id a spreadsheet cut."""
    lost = cut_ids(record.patient for record in records)
    return [
        DataError(cut(record.patient), where=f"{path}, row {record.row}", remedy=CUT_REMEDY)
        for record in records
        if record.patient in lost
    ]


def _straddling(path: Path, records: Sequence[Record]) -> list[DataError]:
    """Name the patients whose rows stand on two sides of the split."""
    first: dict[str, Record] = {}
    problems = []
    named = set()
    for record in records:
        other = first.setdefault(record.patient, record)
        if other.split != record.split and record.patient not in named:
            named.add(record.patient)
            problems.append(
                DataError(
                    f"patient '{record.patient}' is in '{record.split}' here, "
                    f"but in '{other.split}' in row {other.row}",
                    where=f"{path}, row {record.row}",
                    remedy="Put all images of a patient on one side of the split.",
                )
            )
    return problems


def label_indices(label: str | None, classes: Sequence[str], *, multi_label: bool) -> list[int]:
    """Return the classes of a label as indices; one, or with `multi_label` any number ('a|b').

    Raises:
        DataError: The label is not among the classes.
    """
    label = label or ""
    if not label and not multi_label:
        raise DataError("the label is empty", remedy=NO_LABEL)
    names = [name.strip() for name in label.split("|") if name.strip()] if multi_label else [label]
    for name in names:
        if name not in classes:
            raise DataError(f"the label '{name}' is not a class of the job; {suggestion(name, classes)}")
    return [classes.index(name) for name in names]
