"""A site's data for one job: split by patient, preprocessed, in memory."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.cache import DiskCache, content_hash
from client.data.manifest import (
    SPLITS,
    Manifest,
    Record,
    label_indices,
    require,
    scan_manifest,
)
from client.data.mask_files import mask_files
from client.data.preprocess import ImageFilter, Prepared, prepare, transform_digest
from client.data.samples import Batch, Samples
from client.data.splits import Split
from shared.job import JobSpec
from shared.tasks.classification.options import Classification
from shared.tasks.options import ClassesOptions
from shared.tasks.segmentation.options import Segmentation

__all__ = ["Admit", "Batch", "Samples", "SiteData"]

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
        *,
        site: str,
        cache: DiskCache | None,
        image_filter: ImageFilter | None,
    ) -> None:
        self.site = site
        self.patients = {side: len({record.patient for record in sides[side]}) for side in SPLITS}
        self.examples = {side: len(sides[side]) for side in SPLITS}
        self._manifest = manifest
        self._sides = sides
        self._job = job
        self._cache = cache
        self._filter = image_filter
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
        cache: Path | None = None,
        image_filter: ImageFilter | None = None,
    ) -> "SiteData":
        """Read a manifest and split its patients; images are read by `split`.

        Args:
            manifest: The CSV, or the folder that holds it as `manifest.csv`.
            job: What the data are for.
            site: The site's name, for errors.
            split: Says on which side a patient is.
            admit: Chooses the patients of each side who take part; None takes all.
            column_value: Keep the rows whose column `site` has this value; None keeps all.
            cache: Folder that keeps preprocessed samples; None keeps them in memory only.
            image_filter: Changes every image as it is read (simulated scanners).

        Raises:
            DataError: The manifest can't be used, a file is missing, a label is not among the classes, or a
                patient is on two sides.
            JobError: The job names a fold that the split has not.
        """
        columns = job.task.columns
        found = scan_manifest(manifest, job.data.images, columns)
        require(found.problems)
        sides = split.sides(found.records, job.data.fold)
        pairs = list(zip(found.records, sides, strict=True))
        if column_value is not None:
            pairs = _of_site(found, pairs, column_value)
        if admit is not None:
            pairs = _admitted(pairs, admit)
        require(found.missing_files([record for record, _ in pairs], masks="mask" in columns))
        by_side = {side: [record for record, where in pairs if where == side] for side in SPLITS}
        disk = DiskCache(cache) if cache else None
        own = replace(found, records=[record for record, _ in pairs])  # not the rows of a hundred sites
        data = cls(own, by_side, job, site=site, cache=disk, image_filter=image_filter)
        if "label" in columns:
            for record, _ in pairs:
                data._label(record)
        return data

    def split(self, name: str) -> Samples:
        """Return the samples of 'train', 'val' or 'test'; read at the first call, kept for the next.

        Raises:
            DataError: An image or a mask can't be used; names the row and the file.
        """
        if name not in self._samples:
            self._samples[name] = self._read(self._sides[name])
        return self._samples[name]

    @property
    def training_patients(self) -> list[str]:
        """The patient of each training image."""
        return [record.patient for record in self._sides["train"]]

    def group(self, name: str) -> frozenset[str]:
        """Return the patients of 'train', 'val' or 'test'."""
        return frozenset(record.patient for record in self._sides[name])

    def class_counts(self) -> NDArray[np.int64]:
        """Count the classes of the training samples.

        Returns:
            (K,): Images a class; for segmentation (1 + K,): voxels a class after resizing, background first.
        """
        return self._class_counts

    @cached_property
    def _class_counts(self) -> NDArray[np.int64]:
        length = self._counted
        if isinstance(self._job.task, Segmentation):
            counts = (
                np.bincount(mask.numpy().ravel(), minlength=length) for mask in self.split("train").targets
            )
            return np.sum(list(counts), axis=0, dtype=np.int64)
        labels = [index for record in self._sides["train"] for index in self._label(record)]
        return np.bincount(np.array(labels, dtype=np.int64), minlength=length).astype(np.int64)

    def class_patients(self) -> NDArray[np.int64]:
        """Count the training patients who have each class.

        Returns:
            As `class_counts`; for segmentation every patient has the background.
        """
        if isinstance(self._job.task, Segmentation):
            train = self.split("train")
            found = (
                {(patient, int(value)) for value in mask.unique()}
                for patient, mask in zip(train.patients, train.targets, strict=True)
            )
        else:
            found = (
                {(record.patient, index) for index in self._label(record)} for record in self._sides["train"]
            )
        pairs = set().union(*found)
        return np.bincount([index for _, index in pairs], minlength=self._counted).astype(np.int64)

    @property
    def _counted(self) -> int:
        """Classes that are counted, the background of a segmentation among them."""
        task = self._job.task
        return task.counted if isinstance(task, ClassesOptions) else 0

    def _label(self, record: Record) -> list[int]:
        task = self._job.task
        if not isinstance(task, Classification):
            raise TypeError(f"'{task.name}' has no labels")
        with self._manifest.reading(record):
            return label_indices(record, task.classes, multi_label=task.multi_label)

    def _read(self, records: list[Record]) -> Samples:
        digest = transform_digest(self._job, self._filter)
        images, targets, keys, spacings = [], [], [], []
        for record in records:
            with self._manifest.reading(record):
                key, sample = self._sample(record, digest)
            keys.append(key)
            images.append(torch.from_numpy(sample.image))
            targets.append(self._target(record, sample))
            spacings.append(sample.spacing)
        return Samples(
            _pooled(images),
            _pooled(targets),
            patients=[record.patient for record in records],
            keys=keys,
            spacings=spacings,
            data=self._job.data,
        )

    def _sample(self, record: Record, digest: str) -> tuple[str, Prepared]:
        mask = record.mask if "mask" in self._job.task.columns else None
        key = "-".join(content_hash(path) for path in record.images)
        if self._cache is None:
            return key, prepare(record.images, mask, self._job, key, self._filter)
        parts = (digest, key, "-".join(content_hash(path) for path in mask_files(mask)))
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        sample = self._cache.get(name)
        if sample is None:
            sample = prepare(record.images, mask, self._job, key, self._filter)
            self._cache.put(name, sample)
        return key, sample

    def _target(self, record: Record, sample: Prepared) -> Tensor:
        if sample.mask is not None:
            return torch.from_numpy(sample.mask)
        indices = self._label(record)
        task = self._job.task
        if not (isinstance(task, Classification) and task.multi_label):
            return torch.tensor(indices[0])
        target = torch.zeros(self._counted)
        target[indices] = 1
        return target


def _of_site(found: Manifest, pairs: list[tuple[Record, str]], value: str) -> list[tuple[Record, str]]:
    own = {record.row for record in found.of_site(value).records}
    return [(record, side) for record, side in pairs if record.row in own]


def _admitted(pairs: list[tuple[Record, str]], admit: Admit) -> list[tuple[Record, str]]:
    """Keep the records of the patients who take part."""
    patients = {side: frozenset(record.patient for record, own in pairs if own == side) for side in SPLITS}
    chosen = {side: admit(side, patients[side]) for side in SPLITS}
    return [(record, side) for record, side in pairs if record.patient in chosen[side]]


def _pooled(tensors: list[Tensor]) -> Tensor | list[Tensor]:
    """Return one tensor where all have one shape, else the list."""
    return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors
