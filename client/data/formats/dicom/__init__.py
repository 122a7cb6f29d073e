"""DICOM: single files, series in a folder, multi-frame objects, segmentations and structure sets.

Written over pydicom, because MONAI's `PydicomReader` orders a series by its instance numbers, which follow
time or acquisition as often as space, drops slices that lack one, and shows MONOCHROME1 images as negatives.
"""

from client.data.formats.dicom.segments import is_segmentation, read_segments, require_order
from client.data.formats.dicom.series import read_series, require_volume
from client.data.formats.dicom.single import load, read_file
from client.data.formats.dicom.structures import is_structure_set, read_structures

__all__ = [
    "is_segmentation",
    "is_structure_set",
    "load",
    "read_file",
    "read_segments",
    "read_series",
    "read_structures",
    "require_order",
    "require_volume",
]
