"""One sample as it is looked at: prepared, and augmented, as a training would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.augment import augment
from client.data.cache import content_hash
from client.data.check import Expected
from client.data.manifest import Record
from client.data.mask_files import mask_files
from client.data.preprocess import prepare
from client.data.readers import Picture, mask_values, read_files
from shared.job import JobSpec
from shared.seeds import seed_of

Sample = tuple[NDArray[np.float32], NDArray[np.uint8] | None]  # image (C, *S), mask (*S)


@dataclass(frozen=True)
class View:
    """One sample.

    Attributes:
        picture: The image as its files hold it.
        prepared: What a network gets; without a job, what the files hold.
        augmented: One change of it, as training draws them; None where the job asks for none.
        spacing: Millimetres along each axis of the prepared image; None where it is unknown.
        vanished: Whether the mask has foreground, of which nothing is left when it is prepared.
    """

    picture: Picture
    prepared: Sample
    augmented: Sample | None
    spacing: tuple[float, ...] | None
    vanished: bool


def view(record: Record, job: JobSpec | None, values: Sequence[int], seed: int) -> View:
    """Read and prepare one row.

    Args:
        record: The row.
        job: What the data are prepared for; without one they are shown as they are.
        values: Without a job: the values that masks hold; the first is shown as structure 1.
        seed: Of the augmentation.

    Raises:
        DataError: A file can't be read, or not so prepared.
    """
    if job is None:
        return _as_stored(record, values)
    needs_mask = "mask" in job.task.columns
    mask = record.mask if needs_mask else None
    key = "-".join(content_hash(path) for path in record.images)
    expected = Expected.of(job)
    picture, raw = read_files(record.images, mask, expected.layout)
    sample = prepare(record.images, mask, job, key)
    prepared = (sample.image, sample.mask)
    before = (
        mask is not None and raw is not None and bool(expected.class_indices(raw, mask_files(mask)[0]).any())
    )
    return View(
        picture,
        prepared,
        _augmented(prepared, job, seed_of(seed, "look", key)),
        sample.spacing,
        before and sample.mask is not None and not sample.mask.any(),
    )


def _augmented(prepared: Sample, job: JobSpec, seed: int) -> Sample | None:
    data = job.data
    if not data.augment and data.patch is None:
        return None
    image, mask = prepared
    tensors = torch.from_numpy(image), None if mask is None else torch.from_numpy(mask)
    changed, changed_mask = augment(tensors, data.augment, data.patch, seed)
    return changed.numpy(), None if changed_mask is None else changed_mask.numpy()


def _as_stored(record: Record, values: Sequence[int]) -> View:
    picture, raw = read_files(record.images, record.mask, Expected().layout)
    mask = None
    if raw is not None and record.mask is not None:
        labels = np.rint(raw.array[0])
        mask = np.zeros(labels.shape, np.uint8)
        for value in mask_values(raw, mask_files(record.mask)[0]):
            mask[labels == value] = 1 + values.index(int(value)) % np.iinfo(np.uint8).max
    return View(picture, (picture.array, mask), None, picture.spacing, vanished=False)
