"""Reading every file of a dataset before a job does, and saying what was found."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.check.burned_in_text import TextFinder
from client.data.check.doubtful_results import Seen, doubts, rows
from client.data.check.fingerprints import fingerprint
from client.data.check.identifying_headers import identifying_fields
from client.data.check.other_fields import count_in, further
from client.data.images.file_hash import content_hash
from client.data.images.mask_files import Mask, mask_files
from client.data.images.readers import (
    Layout,
    Picture,
    mask_indices,
    mask_values,
    read_files,
    size,
    structure_indices,
    target_shape,
)
from client.data.kinds import Kind, first_of_kind, kinds_of
from client.data.kinds.tally import Tally
from client.data.manifest.pooled_sites import Part, Row, read_parts
from client.data.manifest.rows import SPLITS, Record, label_indices
from client.data.manifest.splits import Split
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.tasks import TASKS
from shared.tasks.fields import fields_of, image_columns_of, target_columns


@dataclass(frozen=True)
class Expected:
    """What the data are checked against; None is whatever the files hold.

    Attributes:
        task: Decides which columns must be there.
        job: Where there is one.
        kinds: Of the fields of a job's samples.
    """

    task: str | None = None
    classes: tuple[str, ...] | None = None
    images: tuple[str, ...] = ("image",)
    multi_label: bool = False
    job: JobSpec | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """What the files of a sample must be."""
        if self.job is None:
            return Layout(classes=(self.classes or ()) if self.task == "segmentation" else ())
        return Layout.of(self.job)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the manifest that the targets need."""
        if self.job is not None:
            return target_columns(fields_of(self.job))
        return target_columns(TASKS[self.task].declared) if self.task else ()

    def class_indices(self, raw: Picture, path: Path) -> NDArray[np.uint8]:
        """Return a mask as the indices of the classes.

        Raises:
            DataError: A value is of no class.
        """
        if self.job is None:
            return mask_indices(raw, path, len(self.classes or ()))
        return structure_indices(raw, path, self.kinds[first_of_kind(self.kinds, "mask")].field)

    def column_of(self, kind: str) -> str:
        """Return the column of the first field of a kind, 'label' or 'mask'; nothing where there is none."""
        name = first_of_kind(self.kinds, kind)
        if self.job is None:
            return kind
        return self.kinds[name].columns[0] if name else ""

    def label_of(self, record: Record) -> str:
        """Return what stands in the column of the label."""
        return record.cells.get(self.column_of("label"), "")

    def mask_of(self, record: Record) -> Mask | None:
        """Return the mask that a row names, or None.

        Raises:
            DataError: A file is missing in its name, or it is no path below the manifest.
        """
        column = self.column_of("mask")
        if column == "mask":
            return record.mask
        return record.mask_in(column) if record.cells.get(column) else None

    @classmethod
    def of(cls, job: JobSpec) -> "Expected":
        """Return what a job expects."""
        named = next((own for own in fields_of(job).values() if own.kind in ("label", "mask")), None)
        classes, several = (None, False) if named is None else (named.classes, named.several)
        return cls(job.task.name, classes, image_columns_of(job), several, job, kinds_of(job))


@dataclass(frozen=True)
class Found:
    """What was found in one row whose files can be used.

    Attributes:
        side: Of the split.
        voxels: Of the image as it is stored, or pixels.
        foreground: Share of them in the mask; None without one.
    """

    record: Record
    side: str
    voxels: int
    foreground: float | None


@dataclass
class Report:
    """What a check found.

    Attributes:
        sites: Site -> side of the split -> (patients, images).
        labels: Label -> side -> images; a label that is not a class of the job is in `errors`.
        masks: Value of a mask (a class's name, where it is known) -> masks that hold it.
        empty_masks: Masks without foreground.
        sizes: Image size, such as '128x96' -> images; likewise `channels` and `spacings`.
        tallies: Field of the job, other than image, mask and label -> what its values are.
        events: Site -> its events, where the job predicts when they come.
        fields: Fields of headers that may identify a person -> files.
        notes: How files were read that a person should know of -> the rows.
        found: The rows whose files can be used.
        errors: What stands against training, each with its row and file.
        warnings: What is worth a look.
    """

    manifest: Path
    images: int = 0
    patients: int = 0
    read_masks: int = 0
    empty_masks: int = 0
    sites: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    labels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    masks: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    spacings: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    events: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    unit: str = "image"  # what a row of the manifest stands for
    fields: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    found: list[Found] = field(default_factory=list)
    errors: list[DataError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def trainable(self) -> bool:
        """Whether a job could train on these data."""
        return not self.errors


def check_dataset(
    path: Path,
    expected: Expected | None = None,
    *,
    split: Split,
    site: str | None = None,
    track: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> Report:
    """Read a manifest and every file that it names.

    Args:
        path: The manifest, or the folder that holds it.
        expected: What the data are for; without it labels and masks are checked where there are such columns.
        split: Says on which side a patient is.
        site: Look at the rows whose column `site` has this value; None looks at all.
        track: Wraps the rows, to show progress.

    Raises:
        DataError: The manifest itself can't be used: it is missing, has no rows (of the site) or lacks a
            column.
        JobError: The job names a fold that the split has not.
    """
    return check_parts([Part(path, split, site)], expected, track=track)


def check_parts(
    parts: Sequence[Part],
    expected: Expected | None = None,
    *,
    track: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> Report:
    """Read the data of several hospitals as one dataset: some faults show only beside the others' data.

    Args:
        parts: At least one.
        expected: As for `check_dataset`.
        track: Wraps the rows, to show progress.

    Raises:
        DataError: A manifest itself can't be used.
        JobError: The job names a fold that a split has not.
    """
    check = _Check(parts, expected or Expected())
    check.side_tables()
    for row in track(check.rows):
        check.row(row)
    return check.conclude()


class _Check:
    """The report as it grows, row by row."""

    def __init__(self, parts: Sequence[Part], expected: Expected) -> None:
        self.expected = expected
        self._label_column, self._mask_column = expected.column_of("label"), expected.column_of("mask")
        needs = expected.columns
        found = read_parts(parts, expected.images, needs, expected.job.data.fold if expected.job else None)
        self.rows = found.rows
        self.columns = found.columns if expected.task is None else frozenset(needs)
        self.seen: list[Seen] = []
        self.text = TextFinder()
        self.report = Report(
            found.path,
            images=len(self.rows),
            patients=len({(row.manifest.path, row.record.patient) for row in self.rows}),
            errors=list(found.problems),
            unit="image" if expected.images else "row",
        )

    def side_tables(self) -> None:
        """Look whether the tables beside each manifest belong to it."""
        by_manifest: dict[Path, list[Record]] = defaultdict(list)
        for row in self.rows:
            by_manifest[row.manifest.path].append(row.record)
        for records, kind in product(by_manifest.values(), self.expected.kinds.values()):
            try:
                kind.require_matches(records)
            except DataError as error:
                self.report.errors.append(error)

    def row(self, row: Row) -> None:
        """Read what a row names; what is wrong goes into the report."""
        record = row.record
        if self._label_column in self.columns:
            with self._noting(row):
                self._label(row)
        for name, kind in further(self.expected.kinds).items():
            with self._noting(row):
                count_in(self.report.tallies[name], kind, record, self.expected.kinds)
                if kind.field.kind == "event":
                    count_in(self.report.events[record.site or "all"], kind, record, self.expected.kinds)
        if not record.images:
            return
        with self._noting(row):
            content = "-".join(content_hash(path) for path in record.images)
            mask = self.expected.mask_of(record) if self._mask_column in self.columns else None
            picture, raw = read_files(record.images, mask, self.expected.layout)
            self._image(picture, row)
            share = self._mask(mask, raw) if mask is not None and raw is not None else None
            self.seen.append(self._look(picture, row, content, share))
            self._headers(record)
            voxels = int(np.prod(picture.shape))
            self.report.found.append(Found(record, row.side, voxels, share))

    @contextmanager
    def _noting(self, row: Row) -> Iterator[None]:
        try:
            with row.manifest.reading(row.record):
                yield
        except DataError as error:
            self.report.errors.append(error)

    def _label(self, row: Row) -> None:
        expected, record, side = self.expected, row.record, row.side
        classes = expected.classes or tuple(self.report.labels)
        if expected.classes is None:
            self.report.labels[expected.label_of(record)][side] += 1
            return
        for index in label_indices(expected.label_of(record), classes, multi_label=expected.multi_label):
            self.report.labels[classes[index]][side] += 1

    def _image(self, picture: Picture, row: Row) -> None:
        job, report = self.expected.job, self.report
        if job is not None:
            target_shape(picture, job.data, row.record.images[0])
        report.sizes[size(picture.shape)] += 1
        report.channels[str(len(picture.array))] += 1
        known = picture.spacing and " x ".join(f"{length:.3g}" for length in picture.spacing) + " mm"
        report.spacings[known or "unknown"] += 1
        for note in picture.notes:
            report.notes[note].append(row)

    def _look(self, picture: Picture, row: Row, content: str, foreground: float | None) -> Seen:
        """Return what doubts are made of: little of each image, taken while it is in memory."""
        array = picture.array
        return Seen(
            row.record,
            row.where,
            row.side,
            content,
            fingerprint(array),
            self._labels_of(row.record),
            None if foreground is None else foreground == 0,
            self.text.finds(array),
            tuple(bool(channel.min() == channel.max()) for channel in array),
        )

    def _headers(self, record: Record) -> None:
        for path in record.images:
            for name in identifying_fields(path):
                self.report.fields[name] += 1

    def _labels_of(self, record: Record) -> tuple[str, ...] | None:
        if self._label_column not in self.columns:
            return None
        label = self.expected.label_of(record)
        names = label.split("|") if self.expected.multi_label else [label]
        return tuple(sorted(name.strip() for name in names if name.strip()))

    def _mask(self, mask: Mask, raw: Picture) -> float:
        """Count a mask and return the share of its foreground."""
        report, expected, path = self.report, self.expected, mask_files(mask)[0]
        if expected.task is not None and expected.classes is not None:
            indices = expected.class_indices(raw, path)
            found = np.unique(indices[indices != 0]).tolist()
            names = [expected.classes[index - 1] for index in found]
            share = np.count_nonzero(indices) / indices.size
        else:
            values = mask_values(raw, path)
            names = [str(value) for value in values]
            share = np.isin(np.rint(raw.array), values).mean()
        report.read_masks += 1
        report.empty_masks += not names
        for name in names:
            report.masks[name] += 1
        return float(share)

    def conclude(self) -> Report:
        """Add what only all rows together show."""
        report = self.report
        for site in sorted({row.record.site or "all" for row in self.rows}):
            report.sites[site] = {side: self._count(site, side) for side in SPLITS}
        for side, need in (("val", "to choose the best round"), ("test", "to judge the result")):
            if not self._count(None, side)[1]:
                report.warnings.append(f"no {report.unit} is in '{side}': there is nothing {need}")
        if not self._count(None, "train")[1]:
            report.errors.append(DataError(f"no {report.unit} is in 'train'", where=report.manifest))
        elif idle := [site for site, counts in report.sites.items() if not counts["train"][1]]:
            report.warnings.append(f"no training data at site {', '.join(idle)}: it only judges the model")
        self._classes()
        for tally in report.tallies.values():
            report.warnings += tally.doubts()
        report.warnings += [
            f"site {site} has no event: nobody there can be compared"
            for site, tally in report.events.items()
            if not tally.counts["observed"]
        ]
        report.warnings += doubts(self.seen)
        if report.fields:
            named = ", ".join(f"{name} ({count})" for name, count in report.fields.most_common())
            report.warnings.append(f"fields in headers that may identify somebody: {named}")
        for note, noted in report.notes.items():
            report.warnings.append(f"{note} ({rows(row.where for row in noted)})")
        return report

    def _count(self, site: str | None, side: str) -> tuple[int, int]:
        """Return the patients and images of a site (None: of all) on one side."""
        chosen = [
            row
            for row in self.rows
            if row.side == side and (site is None or (row.record.site or "all") == site)
        ]
        return len({(row.manifest.path, row.record.patient) for row in chosen}), len(chosen)

    def _classes(self) -> None:
        report, classes = self.report, self.expected.classes or ()
        if report.read_masks and report.empty_masks == report.read_masks:
            report.warnings.append("every mask is empty")
        found: dict[str, bool]
        if self.expected.task is not None and self._mask_column in self.columns:
            found = {name: name in report.masks for name in classes}
        else:
            found = {name: report.labels[name]["train"] > 0 for name in classes}
        if lacking := [name for name, there in found.items() if not there]:
            report.warnings.append(f"no training image of class {', '.join(lacking)}")
        for name, tally in report.tallies.items():
            if lacking := [one for one in self.expected.kinds[name].field.classes if not tally.counts[one]]:
                report.warnings.append(f"nothing in {name} is of class {', '.join(lacking)}")
        without = sum(not row.record.cells.get(self._mask_column) for row in self.rows)
        if self._mask_column in self.columns and without:
            report.warnings.append(f"{without} rows have no mask")
