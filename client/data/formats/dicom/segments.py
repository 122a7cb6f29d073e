"""DICOM segmentations (SEG) as masks: one label for each segment, read by highdicom."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.data.formats.dicom.packed import require_fitting
from client.data.formats.dicom.place import TO_RAS
from client.data.formats.limits import CODED, require_plausible
from client.data.formats.picture import Picture
from client.data.formats.placed_volumes import placed
from shared.errors import DataError

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", LABEL_MAP)
_INSIDE = 0.5  # of a fractional segment's occupancy or probability


def is_segmentation(dataset: Dataset) -> bool:
    """Say if a file is a segmentation."""
    return dataset.get("SOPClassUID") in SEGMENTATIONS


def require_order(dataset: Dataset, path: Path, classes: Sequence[str]) -> None:
    """Refuse a segmentation that names a class of the job at another number: numbers would count.

    Args:
        dataset: The segmentation.
        path: Its file, for the error.
        classes: Names of the structures: the first is the label 1.

    Raises:
        DataError: It does.
    """
    named = {name.casefold(): number for number, name in enumerate(classes, start=1)}
    for segment in dataset.get("SegmentSequence", ()):
        number, name = int(segment.SegmentNumber), str(segment.get("SegmentLabel", "")).strip()
        if named.get(name.casefold(), number) != number:
            raise DataError(
                f"names its segment {number} '{name}', which is class {named[name.casefold()]} of the job",
                where=path,
                remedy=f'Say which number is which class: [task] labels = {{ "{number}" = "{name}", ... }}.',
            )


def read_segments(dataset: Dataset, path: Path, dimensions: int | None) -> Picture:
    """Read a segmentation as a map of labels: 1 for its first segment, and so on by their numbers.

    Frames that it leaves out hold nothing. Of a fractional segment, what is at least half inside counts.

    Raises:
        DataError: Its segments overlap, or its frames are not a volume.
    """
    require_fitting(dataset, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
            numbers = [int(number) for number in segmentation.segment_numbers]
            is_map = dataset.SOPClassUID == LABEL_MAP  # its segments can't overlap
            count = 1 if is_map else len(numbers)
            grid = segmentation.get_volume_geometry(allow_missing_positions=True)
            shape = () if grid is None else (*grid.spatial_shape, count)
            require_plausible(path, shape, 1, CODED, path.stat().st_size)  # of frames that are left out, too
            volume = segmentation.get_volume(combine_segments=is_map, allow_missing_positions=True)
            names = [segmentation.get_segment_description(number).segment_label for number in numbers]
    except (ValueError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        raise DataError(
            f"is a segmentation that is not a single volume ({' '.join(str(error).split())})", where=path
        ) from None
    array = np.asarray(volume.array)
    labels = array.astype(np.int32) if is_map else _labels(array, numbers, path)
    listed = ", ".join(f"{number} is '{name}'" for number, name in zip(numbers, names, strict=True))
    note = f"{path.name} is a segmentation: {listed}"
    picture = placed(labels[None], TO_RAS @ volume.affine, dimensions, notes=(note,))
    return replace(picture, frame=str(dataset.get("FrameOfReferenceUID") or ""))


def _labels(array: NDArray[Any], numbers: Sequence[int], path: Path) -> NDArray[np.int32]:
    """Return segments (slices, rows, columns, segments) as one map of labels."""
    labels = np.zeros(array.shape[:-1], np.int32)
    for place, number in enumerate(numbers):
        inside = array[..., place] >= _INSIDE
        if labels[inside].any():
            raise DataError(
                "has segments that overlap, so it is not a map of labels",
                where=path,
                remedy="Save each structure as a file of its own.",
            )
        labels[inside] = number
    return labels
