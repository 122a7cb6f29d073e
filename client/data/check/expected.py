"""What a dataset is checked against: a job, a task, or only what its files hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.images.mask_files import Mask
from client.data.images.readers import Layout, Picture, mask_indices, structure_indices
from client.data.kinds import Kind, first_of_kind, written_kinds_of
from client.data.manifest.rows import Record
from shared.job.schema import JobSpec
from shared.tasks import TASKS
from shared.tasks.fields import (
    Field,
    image_columns_of,
    needed_columns,
    target_columns,
    written_fields_of,
)


@dataclass(frozen=True)
class Expected:
    """What the data are checked against; None is whatever the files hold.

    Attributes:
        task: Decides which columns must be there.
        job: Where there is one.
        kinds: Of the fields that a job reads of a row.
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
        """The columns of the manifest that are read beside those of images."""
        return target_columns(self._fields)

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of them that must be there."""
        return needed_columns(self._fields)

    @property
    def _fields(self) -> Mapping[str, Field]:
        if self.job is not None:
            return written_fields_of(self.job)
        return TASKS[self.task].declared if self.task else {}

    @property
    def takes_values_for_structures(self) -> bool:
        """Whether the values of a mask are structures because nobody has said what they are."""
        mask = self.kinds.get(first_of_kind(self.kinds, "mask"))
        return mask is None or (mask.field.values is None and not mask.field.instances)

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
            DataError: A file is missing in its name, or it is not a path below the manifest.
        """
        column = self.column_of("mask")
        if column == "mask":
            return record.mask
        return record.mask_in(column) if record.cells.get(column) else None

    def is_unlabelled(self, record: Record) -> bool:
        """Say whether a row lacks a target, of a job that says what becomes of such rows."""
        found = None if self.job is None else self.job.task.classified()
        return found is not None and found[0] in self.kinds and self.kinds[found[0]].is_unknown(record)

    def takes(self, record: Record, side: str) -> bool:
        """Say whether a row takes part on a side of the split: without a target it trains at most."""
        learns = self.job is not None and self.job.task.learns_unlabelled
        return not self.is_unlabelled(record) or (side == "train" and learns)

    @classmethod
    def of(cls, job: JobSpec) -> "Expected":
        """Return what a job expects."""
        named = next((own for own in written_fields_of(job).values() if own.kind in ("label", "mask")), None)
        classes, several = (None, False) if named is None else (named.classes, named.several)
        return cls(job.task.name, classes, image_columns_of(job), several, job, written_kinds_of(job))
