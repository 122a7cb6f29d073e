"""Multi-frame DICOM: enhanced CT, MR, PET and tomosynthesis, whose frames lie in space.

Geometry and values of the frames are highdicom's (functional groups, PS3.3 C.7.6.16).
"""

import warnings
from pathlib import Path

import highdicom
import numpy as np
from pydicom.dataset import Dataset

from client.data.formats.dicom.packed import require_fitting
from client.data.formats.dicom.place import TO_RAS
from client.data.formats.placed import placed
from client.data.picture import Picture
from shared.errors import DataError


def read_frames(dataset: Dataset, path: Path, dimensions: int | None) -> Picture:
    """Read the frames of one file as a volume.

    Raises:
        DataError: The frames are no volume: a cine, several time points, or unevenly placed.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        raise DataError(
            f"is a multi-frame DICOM of {count} frames without a place for each (a cine, or frames in time)",
            where=path,
            remedy="Export the frames that are wanted as single files.",
        )
    require_fitting(dataset, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = highdicom.Image.from_dataset(dataset, copy=False)
            volume = image.get_volume(apply_presentation_lut=True)
    except (ValueError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        raise DataError(
            f"is a multi-frame DICOM of {count} frames that are no single volume ({_first(error)})",
            where=path,
            remedy="Export each volume (time point, echo, b-value) as a file or series of its own.",
        ) from None
    array = np.asarray(volume.array)
    channels = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    return placed(channels, TO_RAS @ volume.affine, dimensions)


def _first(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
