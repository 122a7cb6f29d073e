"""A site's data for one job: split by patient, and prepared."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.cache.settings import CacheTable
from client.data.kinds import Kind
from client.data.kinds.row_images import ImageFilter, Scene
from client.data.manifest.labelled_rows import taking_part
from client.data.manifest.partners import with_partners
from client.data.manifest.rows import SPLITS, Manifest, Record, require
from client.data.manifest.splits import Split
from client.data.motion.steps import whole
from client.data.samples.batches import Samples
from client.data.samples.job_rows import ManifestsAtHand
from client.data.samples.patient_groups import patient_groups
from client.data.samples.sample_reader import Reader
from shared.job.schema import JobSpec
from shared.metrics.patient_values import PatientValues
from shared.tasks.fields import (
    UNKNOWN_LABEL,
    fields_of,
    first_of_role,
)

__all__ = ["Admit", "Samples", "SiteData"]

Admit = Callable[[str, frozenset[str]], frozenset[str]]
"""(side of the split, its patients) -> those of them who take part."""


class SiteData:
    """What one site offers to one job.

    Attributes:
        site: The site's name.
        patients: Number of patients on each side of the split.
        examples: Number of images on each side of the split.
    """

    def __init__(
        self,
        manifest: Manifest,
        sides: dict[str, list[Record]],
        job: JobSpec,
        kinds: Mapping[str, Kind],
        *,
        site: str,
        cache: CacheTable,
        image_filter: ImageFilter | None,
    ) -> None:
        self.site = site
        self.patients = {side: len({record.patient for record in sides[side]}) for side in SPLITS}
        self.examples = {side: len(sides[side]) for side in SPLITS}
        self._manifest = manifest
        self._sides = sides
        self._job = job
        self._kinds = kinds
        source = first_of_role(fields_of(job), "input")
        self._reader = Reader(manifest, job, kinds, source=source, cache=cache, image_filter=image_filter)
        self._samples: dict[str, Samples] = {}

    @classmethod
    def load(
        cls,
        manifest: Path,
        job: JobSpec,
        *,
        site: str,
        split: Split,
        admit: Admit | None = None,
        column_value: str | None = None,
        cache: CacheTable | None = None,
        image_filter: ImageFilter | None = None,
        manifests: ManifestsAtHand | None = None,
    ) -> "SiteData":
        """Read a manifest and split its patients; images are read by `split`.

        Args:
            manifest: The CSV, or the folder that holds it as `manifest.csv`.
            job: What the data are for.
            site: The site's name, for errors.
            split: Says on which side a patient is.
            admit: Chooses the patients of each side who take part; None takes all.
            column_value: Keep the rows whose column `site` has this value; None keeps all.
            cache: Where prepared samples are kept; None keeps them in memory only.
            image_filter: Changes every image as it is read (simulated scanners).
            manifests: What other sites have read; None reads the manifest.

        Raises:
            DataError: The manifest can't be used, a file is missing, a label is not among the classes, or a
                patient is on two sides.
            JobError: The job names a fold that the split has not.
        """
        rows = (manifests or ManifestsAtHand()).rows(manifest, job, split)
        found, kinds = rows.manifest, rows.kinds
        pairs = rows.of_site(column_value)
        pairs = split.in_use(pairs)
        pairs = taking_part(
            pairs, kinds, _labels_of(job), split, learns_unlabelled=job.task.learns_unlabelled
        )
        if admit is not None:
            pairs = _admitted(pairs, admit)
        if (pairing := job.task.pairing(job.data)) is not None:
            pairs = with_partners(found, pairs, pairing, job.job.seed)
        require(found.missing_files([record for record, _ in pairs], lambda record: _files(record, kinds)))
        by_side = {side: [record for record, where in pairs if where == side] for side in SPLITS}
        own = replace(found, records=[record for record, _ in pairs])  # not the rows of a hundred sites
        data = cls(
            own, by_side, job, kinds, site=site, cache=cache or CacheTable(), image_filter=image_filter
        )
        for name, kind in kinds.items():
            kind.require_matches(found.records)
            if kind.in_manifest:
                for record, _ in pairs:
                    data._reader.cell(record, name)
        return data

    def split(self, name: str) -> Samples:
        """Return the samples of 'train', 'val' or 'test'; read at the first call, kept for the next.

        Raises:
            DataError: An image or a mask can't be used; names the row and the file.
        """
        if name not in self._samples:
            self._samples[name] = self._reader.read(self._sides[name])
        return self._samples[name]

    def scenes(self, side: str) -> Iterator[Scene]:
        """Yield the images of each row of a side, as their files hold them.

        Raises:
            DataError: One can't be read; names the row.
        """
        yield from (self._reader.scene(record) for record in self._sides[side])

    def cells(self, side: str, name: str) -> Tensor | None:
        """Return the values (N, ...) of a field of the manifest; None where that lacks its columns."""
        if name not in self._kinds or not self._sides[side]:
            return None
        return torch.stack([self._reader.cell(record, name) for record in self._sides[side]])

    @property
    def training_patients(self) -> list[str]:
        """The patient of each training image."""
        return [record.patient for record in self._sides["train"]]

    def group(self, name: str) -> frozenset[str]:
        """Return the patients of 'train', 'val' or 'test'."""
        return frozenset(record.patient for record in self._sides[name])

    def named(self, name: str) -> str:
        """Return the SHA-256 of the rows of 'train', 'val' or 'test'; no file that they name is read."""
        rows = [(record.patient, sorted(record.cells.items())) for record in self._sides[name]]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def test_groups(self) -> dict[str, frozenset[str]]:
        """Return the test patients of each group that the job asks for, by its name."""
        return patient_groups(self._job, self._sides["test"])

    def class_counts(self) -> NDArray[np.int64]:
        """Count the classes of the training samples.

        Returns:
            (K,): Images a class; of a mask (1 + K,): voxels a class after resizing, background first.
        """
        return self._class_counts

    @property
    def counts_voxels(self) -> bool:
        """Whether `class_counts` are of voxels, so that a sample adds as many as its image has."""
        return self._kinds[self._target].lies_on_grid

    def written_targets(self) -> Tensor | None:
        """Return the target of each training sample (N, ...); None where the manifest does not hold it."""
        kinds = [kind for kind in self._kinds.values() if kind.field.role == "target"]
        if not kinds or not kinds[0].in_manifest or not self._sides["train"]:
            return None
        return torch.stack([self._reader.cell(record, self._target) for record in self._sides["train"]])

    def known_targets(self) -> Tensor | None:
        """Return those of `written_targets` that somebody has given."""
        targets = self.written_targets()
        if targets is None or not self._kinds[self._target].field.partly_known:
            return targets
        return targets[targets != UNKNOWN_LABEL]

    def drawn_as(self) -> Tensor | None:
        """Return the class (N,) as which a training sample may be drawn, `UNKNOWN_LABEL` without a target.

        Those with a mask are of one class, 0. None where nothing stands in the manifest to draw by.
        """
        targets = self.written_targets()
        kind = self._kinds.get(_labels_of(self._job))
        if targets is not None or kind is None or not kind.field.partly_known:
            return targets
        unknown = [kind.is_unknown(record) for record in self._sides["train"]]
        return torch.where(torch.tensor(unknown, dtype=torch.bool), UNKNOWN_LABEL, 0)

    def have_targets(self) -> NDArray[np.bool_]:
        """Say of each training image whether it has a target (N,); of a task without targets all count."""
        images, labels = len(self._sides["train"]), _labels_of(self._job)
        if self._job.task.learns_unlabelled and labels not in self._kinds:
            return np.zeros(images, np.bool_)
        targets = self.drawn_as()
        if targets is not None and targets.is_floating_point():
            return (~targets.isnan()).flatten(1).any(dim=1).numpy()
        if targets is not None and self._kinds[labels].field.partly_known:
            return (targets != UNKNOWN_LABEL).numpy()
        return np.ones(images, np.bool_)

    def taught_by(self) -> frozenset[str]:
        """Return the training patients of whom an image has a target."""
        pairs = zip(self.training_patients, self.have_targets().tolist(), strict=True)
        return frozenset(patient for patient, has_target in pairs if has_target)

    @cached_property
    def _target(self) -> str:
        return first_of_role(fields_of(self._job), "target")

    @cached_property
    def _class_counts(self) -> NDArray[np.int64]:
        kind, values = self._kinds[self._target], self._training_targets()
        return sum((kind.class_counts(value) for _, value in values), np.zeros(kind.classes, np.int64))

    def class_values(self) -> PatientValues:
        """Count the classes of each training patient, as `class_counts` does of all together."""
        kind = self._kinds[self._target]
        rows = [(patient, kind.class_counts(value)) for patient, value in self._training_targets()]
        counts = np.array([own for _, own in rows], np.float64).reshape(len(rows), kind.classes)
        return PatientValues.of([patient for patient, _ in rows], counts, counts > 0)

    def _training_targets(self) -> Iterator[tuple[str, Tensor]]:
        """Yield patient and target of each training sample that has one; images are read for masks alone."""
        kind = self._kinds[self._target]
        for number, record in enumerate(self._sides["train"]):
            if kind.is_unknown(record):
                continue
            if kind.in_manifest:
                yield record.patient, self._reader.cell(record, self._target)
            else:
                yield record.patient, whole(self.split("train").columns[self._target][number])


def _labels_of(job: JobSpec) -> str:
    """Return the field without which a row is unlabelled; nothing where a task has no classes."""
    found = job.task.classified()
    return "" if found is None else found[0]


def _files(record: Record, kinds: Mapping[str, Kind]) -> list[Path]:
    return [file for kind in kinds.values() for file in kind.files(record)]


def _admitted(pairs: list[tuple[Record, str]], admit: Admit) -> list[tuple[Record, str]]:
    """Keep the records of the patients who take part."""
    patients = {side: frozenset(record.patient for record, own in pairs if own == side) for side in SPLITS}
    chosen = {side: admit(side, patients[side]) for side in SPLITS}
    return [(record, side) for record, side in pairs if record.patient in chosen[side]]
