"""Multi-frame DICOM: enhanced CT, MR, PET and tomosynthesis, whose frames lie in space.

Geometry and values of the frames are highdicom's (functional groups, PS3.3 C.7.6.16).
"""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from client.data.formats.dicom.packed import decoded, require_fitting
from client.data.formats.dicom.place import TO_RAS
from client.data.formats.dicom.values import padding_of, require_known, require_slope, within_bits
from client.data.formats.picture import Picture
from client.data.formats.placed_volumes import placed
from shared.errors import DataError


def read_frames(dataset: Dataset, path: Path, dimensions: int | None) -> Picture:
    """Read the frames of one file as a volume.

    Raises:
        DataError: The frames are not a volume: a cine, several time points, or unevenly placed.
    """
    require_known(dataset, path)
    count = int(dataset.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        raise DataError(
            f"is a multi-frame DICOM of {count} frames without a place for each (a cine, or frames in time)",
            where=path,
            remedy="A field of the kind 'series' reads it; or export the frames that are wanted.",
        )
    for transform in _transforms(dataset):
        require_slope(transform, path)
    types = {str(transform.get("RescaleType") or "") for transform in _transforms(dataset)} - {""}
    if len(types) > 1:
        raise DataError(
            f"has frames whose values are of several types: {', '.join(sorted(types))}", where=path
        )
    require_fitting(dataset, path)
    dataset, padding = _plain(dataset, path)
    array, affine = _volume(dataset, path, count)
    picture = placed(array, affine, dimensions)
    if padding is None:
        return picture
    # the same way as the values, so that both lie on each other
    marked, _ = _volume(_with_pixels(dataset, padding.astype(np.uint16)), path, count, meaning=False)
    return replace(picture, background=picture.turn.apply(marked[0] > 0))


def _transforms(dataset: Dataset) -> Iterator[Dataset]:
    """Yield what rescales the values of all frames, and of each."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for group in (*shared, *dataset.PerFrameFunctionalGroupsSequence):
        yield from group.get("PixelValueTransformationSequence") or ()


def _plain(dataset: Dataset, path: Path) -> tuple[Dataset, NDArray[np.bool_] | None]:
    """Return a file with unpacked pixels, none above its stored bits, and where they are padding.

    highdicom takes the values as they are stored, and knows of neither.
    """
    narrow = int(dataset.BitsStored) < int(dataset.BitsAllocated)
    if int(dataset.SamplesPerPixel) > 1 or not (narrow or "PixelPaddingValue" in dataset):
        return dataset, None
    stored = within_bits(decoded(dataset, path), dataset)
    return _with_pixels(dataset, stored), padding_of(stored, dataset)


def _with_pixels(dataset: Dataset, stored: NDArray[Any]) -> Dataset:
    """Return a file with other pixels; what is copied is its list of elements, not what they hold."""
    plain = copy.copy(dataset)
    plain.file_meta = copy.copy(dataset.file_meta)
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    return plain


def _volume(
    dataset: Dataset, path: Path, count: int, *, meaning: bool = True
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the frames as (C, slices, rows, columns), and their affine to RAS+ mm.

    Raises:
        DataError: They are not a single volume.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = highdicom.Image.from_dataset(dataset, copy=False)
            volume = image.get_volume(
                apply_modality_transform=None if meaning else False, apply_presentation_lut=meaning
            )
    except (ValueError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        raise DataError(
            f"is a multi-frame DICOM of {count} frames that are not a single volume ({_first(error)})",
            where=path,
            remedy="Export each volume (time point, echo, b-value) as a file or series of its own.",
        ) from None
    array = np.asarray(volume.array)
    return np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None], TO_RAS @ volume.affine


def _first(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
