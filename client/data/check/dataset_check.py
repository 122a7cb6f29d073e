"""Reading every file of a dataset before a job does, and saying what was found."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from client.data.check.burned_in_text import TextFinder
from client.data.check.doubtful_results import Seen, doubts, rows
from client.data.check.expected import Expected
from client.data.check.far_targets import too_far
from client.data.check.fingerprints import fingerprint
from client.data.check.identifying_headers import identifying_fields
from client.data.check.instance_maps import InstanceMaps
from client.data.check.other_fields import count_in, further, has_text, ungrouped
from client.data.images.file_hash import content_hash
from client.data.images.mask_files import Mask, mask_files
from client.data.images.readers import Picture, mask_values, read_files, size
from client.data.images.target_shape import target_shape
from client.data.kinds.tally import Tally
from client.data.kinds.tiles import stack_of
from client.data.manifest.pooled_sites import Part, Row, read_parts
from client.data.manifest.rows import SPLITS, Record, label_indices
from client.data.manifest.splits import Split
from shared.errors import DataError
from shared.tasks.fields import PIXELS, may_lack_images, may_lack_masks
from shared.text.plural import many


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
        unlabelled: Side of the split -> rows without a label or mask, in a job with [task.unlabelled].
        events: Site -> its events, where the job predicts when they come.
        fields: Fields of headers that may identify a person -> files.
        texts: Rows with what looks like text in the frames of a series.
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
    unlabelled: Counter[str] = field(default_factory=Counter)
    events: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    unit: str = "image"  # what a row of the manifest stands for
    fields: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
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
        job = expected.job
        found = read_parts(
            parts,
            expected.images,
            expected.needs,
            (job.data.fold, job.data.fold_draw) if job else (None, 1),
            may_lack_images=job is not None and may_lack_images(job),
            may_lack_masks=job is not None and may_lack_masks(job),
        )
        self.rows = found.rows
        read = found.columns if expected.task is None else expected.columns
        self.columns = found.columns.intersection(read)
        self.kinds = {
            name: kind
            for name, kind in further(expected.kinds).items()
            if kind.field.required or found.columns.issuperset(kind.columns)
        }
        self.seen: list[Seen] = []
        self.text = TextFinder()
        self.instances = InstanceMaps()
        self.report = Report(
            found.path,
            images=len(self.rows),
            patients=len({(row.manifest.path, row.record.patient) for row in self.rows}),
            errors=list(found.problems),
            unit="image" if expected.images else "row",
        )

    def side_tables(self) -> None:
        """Look whether the tables beside each manifest belong to it."""
        by_manifest = defaultdict[Path, list[Record]](list)
        for row in self.rows:
            by_manifest[row.manifest.path].append(row.record)
        for records, kind in product(by_manifest.values(), self.expected.kinds.values()):
            try:
                self.report.warnings += kind.require_matches(records)
            except DataError as error:
                self.report.errors.append(error)

    def row(self, row: Row) -> None:
        """Read what a row names; what is wrong goes into the report."""
        record, is_labelled = row.record, not self.expected.is_unlabelled(row.record)
        self.report.unlabelled[row.side] += not is_labelled
        if self._label_column in self.columns and is_labelled:
            with self._noting(row):
                self._label(row)
        for name, kind in self.kinds.items():
            with self._noting(row):
                value = count_in(self.report.tallies[name], kind, record, self.expected.kinds)
                if stack_of(self.expected.kinds) is kind:
                    self.report.found.append(Found(record, row.side, value.size, None))
                if has_text(kind, record, self.text, row.where):
                    self.report.texts.append(row.where)
                if kind.field.kind in PIXELS:
                    self._headers(kind.files(record))
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
            self._headers(record.images)
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
            self.text.look(len(self.seen), array),
            tuple(bool(channel.min() == channel.max()) for channel in array),
        )

    def _headers(self, files: Sequence[Path]) -> None:
        for path in files:
            for name in identifying_fields(path):
                self.report.fields[name] += 1

    def _labels_of(self, record: Record) -> tuple[str, ...] | None:
        if self._label_column not in self.columns or self.expected.is_unlabelled(record):
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
        if expected.takes_values_for_structures:
            self.instances.take(raw.array[0])
        report.read_masks += 1
        report.empty_masks += not names
        for name in names:
            report.masks[name] += 1
        return float(share)

    def _sides(self) -> None:
        """Say where nobody is on a side of the split that the job works on, or looks at."""
        report, job = self.report, self.expected.job
        if job is not None and job.judges:
            if not self._count(None, "test")[1]:
                report.errors.append(DataError(f"no {report.unit} is in 'test'", where=report.manifest))
            return
        for side, need in (("val", "to choose the best round"), ("test", "to judge the result")):
            if not self._count(None, side)[1]:
                report.warnings.append(f"no {report.unit} is in '{side}': there is nothing {need}")
        if problem := self._nothing_to_train_on():
            report.errors.append(DataError(problem, where=report.manifest))
        elif idle := [site for site, counts in report.sites.items() if not counts["train"][1]]:
            report.warnings.append(f"no training data at site {', '.join(idle)}: it only judges the model")

    def conclude(self) -> Report:
        """Add what only all rows together show."""
        report, words = self.report, self.text.read()
        self.seen = [replace(one, text=one.text or place in words) for place, one in enumerate(self.seen)]
        report.texts = [row.where for row in self.rows if row.where in words.union(report.texts)]
        for site in sorted({row.record.site or "all" for row in self.rows}):
            report.sites[site] = {side: self._count(site, side) for side in SPLITS}
        self._sides()
        self._classes()
        report.warnings += self._unpaired()
        for tally in report.tallies.values():
            report.warnings += tally.doubts()
        job = self.expected.job
        report.warnings += [*too_far(job, report.tallies), *ungrouped(job, self.rows)]
        report.warnings += [
            f"site {site} has no event: nobody there can be compared"
            for site, tally in report.events.items()
            if not tally.counts["observed"]
        ]
        report.warnings += [*self.instances.doubts(), *self._without_image(), *doubts(self.seen)]
        if report.texts:
            report.warnings.append(
                f"{many(len(report.texts), 'row')} with what looks like text in the frames of a series: "
                f"{rows(report.texts)}; names may stand in it, and a model may read it"
            )
        if report.fields:
            named = ", ".join(f"{name} ({count})" for name, count in report.fields.most_common())
            report.warnings.append(f"fields in headers that may identify somebody: {named}")
        noted = ((note, rows(row.where for row in found)) for note, found in report.notes.items())
        report.warnings += [f"{note} ({where})" for note, where in noted]
        return report

    def _nothing_to_train_on(self) -> str:
        """Say why nobody could train; nothing where somebody can."""
        trained = [row.record for row in self.rows if row.side == "train"]
        if not trained:
            return f"no {self.report.unit} is in 'train'"
        is_labelled = any(not self.expected.is_unlabelled(record) for record in trained)
        return "" if is_labelled else "no training row has a label or mask"

    def _without_image(self) -> Iterator[str]:
        without = sum(not row.record.images for row in self.rows)
        if self.expected.images and without:
            yield f"{many(without, 'row')} without an image"

    def _count(self, site: str | None, side: str) -> tuple[int, int]:
        """Return the patients and images of a site (None: of all) on one side."""
        chosen = [
            row
            for row in self.rows
            if row.side == side
            and (site is None or (row.record.site or "all") == site)
            and self.expected.takes(row.record, side)
        ]
        return len({(row.manifest.path, row.record.patient) for row in chosen}), len(chosen)

    def _unpaired(self) -> Iterator[str]:
        """Yield where a site has one patient of a side, and a job pairs patients."""
        job = self.expected.job
        if job is None or job.task.pairing(job.data) is None:
            return
        for site, sides in self.report.sites.items():
            for side, (patients, _) in sides.items():
                if patients == 1:
                    yield f"site {site} has one patient in '{side}', and nobody to pair this one with there"

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
            kind = self.expected.kinds[name]
            of_classes = kind.field.classes if kind.classes else ()
            if lacking := [one for one in of_classes if not tally.counts[one]]:
                report.warnings.append(f"nothing in {name} is of class {', '.join(lacking)}")
        without = sum(not row.record.cells.get(self._mask_column) for row in self.rows)
        if self._mask_column in self.columns and without and not report.unlabelled.total():
            report.warnings.append(f"{without} rows have no mask")
