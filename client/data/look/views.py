"""One sample as it is looked at: prepared, and augmented, as a training would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.cache.prepared import Prepared
from client.data.cache.preprocess import prepare
from client.data.check.expected import Expected
from client.data.images.mask_files import mask_files
from client.data.images.readers import Picture, mask_values, read_files
from client.data.kinds import Kind, first_of_kind, written_kinds_of
from client.data.kinds.drawing import Drawing
from client.data.look.planes import Sample
from client.data.manifest.rows import Record
from client.data.samples.batches import Samples
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.seeds import seed_of


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
    kinds = written_kinds_of(job)
    if not first_of_kind(kinds, "image"):
        raise DataError("has no image to look at", remedy="Look at the data without --job.")
    expected = Expected.of(job)
    mask = expected.mask_of(record)
    picture, raw = read_files(record.images, mask, expected.layout)
    sample = prepare(record, kinds, job.data)
    before = (
        mask is not None and raw is not None and bool(expected.class_indices(raw, mask_files(mask)[0]).any())
    )
    prepared = _shown(sample.values, kinds)
    key = kinds[first_of_kind(kinds, "image")].source(record)
    return View(
        picture,
        prepared,
        _augmented(sample, job, key, seed_of(seed, "look", key)),
        sample.spacing,
        before and not sample.values[first_of_kind(kinds, "mask")].any(),
    )


def _shown(values: Mapping[str, NDArray[Any]], kinds: Mapping[str, Kind]) -> Sample:
    image = first_of_kind(kinds, "image")
    on_it = [name for name, kind in kinds.items() if kind.field.grid in (None, image)]
    return Sample(values[image], tuple(kinds[name].drawing(values[name]) for name in on_it if name in values))


def _augmented(prepared: Prepared, job: JobSpec, key: str, seed: int) -> Sample | None:
    if not job.data.augment and job.data.patch is None:
        return None
    columns = {name: [torch.from_numpy(value)] for name, value in prepared.values.items()}
    samples = Samples(job, columns, patients=[""], keys=[key], spacings=[None])
    changed = samples.batch([0], augment_seed=seed)
    return _shown({name: changed[name][0].numpy() for name in columns}, written_kinds_of(job))


def _as_stored(record: Record, values: Sequence[int]) -> View:
    picture, raw = read_files(record.images, record.mask, Expected().layout)
    mask = None
    if raw is not None and record.mask is not None:
        labels = np.rint(raw.array[0])
        mask = np.zeros(labels.shape, np.uint8)
        for value in mask_values(raw, mask_files(record.mask)[0]):
            mask[labels == value] = 1 + values.index(int(value)) % np.iinfo(np.uint8).max
    return View(picture, Sample(picture.array, (Drawing(areas=mask),)), None, picture.spacing, vanished=False)
