"""From a file to what a network sees: resampled, resized, with comparable intensities.

Everything here is deterministic, and the same bits whatever the number of threads: sums run in NumPy.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

from client.data.mask_files import Mask
from client.data.readers import read_sample, target_shape
from shared.job import DataTable, JobSpec

VERSION = (
    2  # of the code below: counts up when its result changes, so that no old cache is taken for a new one
)


class ImageFilter(Protocol):
    """A change to images as they are read; simulated scanners are such filters.

    Attributes:
        digest: Names the filter and all its settings; part of the cache's key.
    """

    @property
    def digest(self) -> str: ...  # noqa: D102

    def __call__(self, image: NDArray[np.float32], key: str) -> NDArray[np.float32]:
        """Return the changed image (C, *S); `key`, the SHA-256 of its files, seeds what is random."""


@dataclass(frozen=True)
class Prepared:
    """A sample as it is cached.

    Attributes:
        image: (C, *S), float32.
        mask: (*S), uint8 class indices, or None for tasks without masks.
        spacing: Millimetres along each axis after resizing, or None where it is unknown.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    spacing: tuple[float, ...] | None


def transform_digest(job: JobSpec, image_filter: ImageFilter | None = None) -> str:
    """Return the SHA-256 of all that decides what `prepare` makes of a file."""
    fields = {
        "channels",
        "size",
        "spacing",
        "dimensions",
        "intensity",
        "window",
        "resize",
        "colour",
        "geometry",
    }
    parts = {
        "version": VERSION,
        "data": job.data.model_dump(mode="json", include=fields),
        "mask": job.task.model_dump(mode="json", include={"labels", "mask", "classes"})
        if "mask" in job.task.columns
        else {},
        "filter": image_filter.digest if image_filter else "",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prepare(
    images: Sequence[Path],
    mask: Mask | None,
    job: JobSpec,
    key: str,
    image_filter: ImageFilter | None = None,
) -> Prepared:
    """Read and preprocess one sample.

    Args:
        images: The image's files, one a column of the job.
        mask: Its mask, where the task needs one; several files are one structure each.
        job: The job; its table [data] says what is done.
        key: The SHA-256 of the image's files, for the filter.
        image_filter: Changes the image before anything else.

    Raises:
        DataError: A file can't be read or doesn't fit the job, the mask is of another size than the image, or
            the job wants a spacing and the file doesn't say its own.
    """
    data = job.data
    picture, labels = read_sample(images, mask, job)
    array = picture.array if image_filter is None else image_filter(picture.array, key)
    shape = target_shape(picture, data, images[0])
    inner = _inner_shape(picture.shape, shape) if data.resize == "pad" and data.size is not None else shape
    tissue = (
        None
        if picture.background is None
        else ~resize_mask(picture.background.astype(np.uint8), inner).astype(bool)
    )
    array = intensity(resize_image(array, inner), data, tissue)
    spacing = None
    if picture.spacing is not None:
        lengths = zip(picture.spacing, picture.shape, inner, strict=True)
        spacing = tuple(length * before / after for length, before, after in lengths)
    resized = None if labels is None else padded(resize_mask(labels, inner)[None], shape)[0]
    return Prepared(padded(array, shape), resized, spacing)


def _inner_shape(before: tuple[int, ...], frame: tuple[int, ...]) -> tuple[int, ...]:
    """Return the largest shape of the same proportions within a frame."""
    scale = min(after / length for length, after in zip(before, frame, strict=True))
    return tuple(
        min(after, max(1, round(length * scale))) for length, after in zip(before, frame, strict=True)
    )


def padded(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array (C, *S) in the middle of a larger one, each channel's lowest value around it."""
    missing = [after - before for before, after in zip(array.shape[1:], shape, strict=True)]
    if not any(missing):
        return array
    widths = [(gap // 2, gap - gap // 2) for gap in missing]
    return np.stack([np.pad(channel, widths, constant_values=channel.min()) for channel in array])


def resize_image(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize (C, *S) with linear interpolation, smoothed first along axes that shrink."""
    if image.shape[1:] == shape:
        return image
    if len(shape) == 2:
        return interpolate(torch.from_numpy(image)[None], shape, mode="bilinear", antialias=True)[0].numpy()
    # PyTorch has no antialias in 3D: a Gaussian of the width that scikit-image and MONAI use
    sigma = [max(0.0, (before / after - 1) / 2) for before, after in zip(image.shape[1:], shape, strict=True)]
    smooth = gaussian_filter(image, (0, *sigma)) if any(sigma) else image
    return interpolate(torch.from_numpy(smooth)[None], shape, mode="trilinear")[0].numpy()


def resize_mask(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resize (*S) by taking the nearest value."""
    if mask.shape == shape:
        return mask
    return interpolate(torch.from_numpy(mask)[None, None], shape, mode="nearest-exact")[0, 0].numpy()


def intensity(
    image: NDArray[np.float32], data: DataTable, tissue: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Bring the values of (C, *S) to a common range, each channel by itself; a constant channel becomes 0.

    Args:
        image: (C, *S).
        data: Says which range.
        tissue: (*S), False where the file says that there is none (DICOM's pixel padding): it counts in no
            statistic and becomes the lowest value. None: everywhere.
    """
    if tissue is None or tissue.all() or not tissue.any():
        return _ranged(image, image.reshape(len(image), -1), data)
    inside = image[:, tissue]
    return np.stack(
        [np.where(tissue, channel, channel[tissue].min()) for channel in _ranged(image, inside, data)]
    )


def _ranged(image: NDArray[np.float32], counted: NDArray[np.float32], data: DataTable) -> NDArray[np.float32]:
    """Bring (C, *S) to a range found from the values that count, (C, n)."""
    if data.intensity == "none":
        return image
    shape = (len(image), *(1,) * (image.ndim - 1))
    if data.intensity == "zscore":
        mean = counted.mean(axis=1, dtype=np.float64).reshape(shape)
        deviation = counted.std(axis=1, dtype=np.float64).reshape(shape)
        return ((image - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    if data.window is not None:
        low, high = data.window
    else:
        ends = (0, 100) if data.intensity == "minmax" else (1, 99)
        low, high = (end.reshape(shape) for end in np.percentile(counted, ends, axis=1))
    width = np.where(np.greater(high, low), np.subtract(high, low), 1)
    return np.clip((image - low) / width, 0, 1).astype(np.float32)
