"""Masks as DICOM segmentations (SEG, PS3.3 A.51), on the grid of the images that they are of."""

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

import highdicom
import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray

from client.predict.dicom.codes import SCHEME, Coded
from client.predict.dicom.grid import FileGrid
from client.predict.dicom.maker import RESEARCH, Maker
from shared.errors import DataError

_SERIES = 9701
_MOST = 2**16 - 1  # segments
Mask = NDArray[np.uint8] | NDArray[np.int32]


def segmentation(mask: Mask, grid: FileGrid, classes: Mapping[str, Coded], maker: Maker) -> Segmentation:
    """Return a mask as a segmentation with a segment for each class, or for each instance of one.

    Frames without any are there, too: what reads it has the grid of the image.

    Args:
        mask: Class of each pixel (*S), or the number of its instance (int32), on the picture's grid.
        grid: Of the image, in its files.
        classes: What each class is, by its name, in the order of their indices.
        maker: The model.

    Raises:
        DataError: It has too many instances, or its files do not say where they lie.
    """
    has_instances = mask.dtype == np.int32
    segments = _instances(mask, classes, maker) if has_instances else _classes(classes, maker)
    kept = np.uint16 if has_instances else np.uint8
    stored, source = grid.array(mask.astype(kept)), grid.source
    content = hashlib.sha256(stored.tobytes()).hexdigest()
    kind = SegmentationTypeValues.LABELMAP if has_instances else SegmentationTypeValues.BINARY
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names and values that the source has
            return Segmentation(
                source_images=source.headers,
                pixel_array=_placed(stored, grid),
                segmentation_type=kind,
                segment_descriptions=segments,
                series_instance_uid=maker.uid("SEG", str(source.first.SeriesInstanceUID)),
                series_number=_SERIES,
                sop_instance_uid=maker.uid("SEG", *source.uids, content),
                instance_number=1,
                omit_empty_frames=False,
                content_label="SEGMENTATION",
                content_description=RESEARCH,
                content_creator_name="Wardround^",
                series_description=maker.title,
                coding_schemes=[SCHEME],
                **maker.equipment(),
            )
    except (ValueError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"can't be referred to by a segmentation ({text})", where=source.path) from None


def _classes(classes: Mapping[str, Coded], maker: Maker) -> list[SegmentDescription]:
    return [_segment(number, name, own, maker) for number, (name, own) in enumerate(classes.items(), 1)]


def _instances(mask: Mask, classes: Mapping[str, Coded], maker: Maker) -> list[SegmentDescription]:
    [(name, own)] = classes.items()
    numbers = [int(number) for number in np.unique(mask) if number]
    if not numbers:
        return [_segment(1, name, own, maker)]
    if numbers[-1] > _MOST:
        raise DataError(f"has {numbers[-1]} instances, and a segmentation holds {_MOST} at most")
    return [_segment(number, f"{name} {number}", own, maker) for number in numbers]


def _segment(number: int, label: str, own: Coded, maker: Maker) -> SegmentDescription:
    return SegmentDescription(
        number,
        label[:64],
        own.category,
        own.type,
        SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=maker.algorithm(),
    )


def _placed(stored: NDArray[Any], grid: FileGrid) -> NDArray[Any] | highdicom.Volume:
    """Return pixels with their place; those of a single image lie on its own."""
    if grid.is_flat:
        return stored
    return highdicom.Volume(
        stored, grid.affine(), coordinate_system="PATIENT", frame_of_reference_uid=grid.frame_of_reference
    )
