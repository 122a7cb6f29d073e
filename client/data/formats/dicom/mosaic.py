"""Siemens mosaics: the slices of a volume side by side in one picture, read by nibabel."""

import warnings
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from client.data.formats.dicom.packed import require_fitting
from client.data.formats.dicom.place import TO_RAS
from client.data.formats.picture import Picture
from client.data.formats.placed_volumes import placed
from shared.errors import DataError


def is_mosaic(dataset: Dataset) -> bool:
    """Say if a file is a mosaic."""
    return "MOSAIC" in (dataset.get("ImageType") or ())


def read_mosaic(dataset: Dataset, path: Path, dimensions: int | None) -> Picture:
    """Read a mosaic as the volume that it shows.

    Raises:
        DataError: Its private header does not say how the slices lie.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nibabel calls its DICOM readers young
        from nibabel.nicom.dicomwrappers import MosaicWrapper, wrapper_from_data  # noqa: PLC0415
    wrapper = wrapper_from_data(dataset)
    if not isinstance(wrapper, MosaicWrapper):
        raise DataError(
            "is a mosaic of slices, but lacks the private header that says how they lie",
            where=path,
            remedy="Export it with its private tags, or convert it to NIfTI at the scanner.",
        )
    require_fitting(dataset, path)
    volume = np.asarray(wrapper.get_data(), dtype=np.float64)
    return placed(volume[None], TO_RAS @ wrapper.affine, dimensions)
