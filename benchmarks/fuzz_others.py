"""What another library reads in a changed file: the values must be the same, wherever it reads it."""

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813
from fuzz_files import Seed
from numpy.typing import NDArray

from client.data.formats.nifti import nifti_header

_READERS = {"NIfTI": "NiftiImageIO", "PNG": "PNGImageIO", "DICOM": "GDCMImageIO"}
COMPARED = {
    *("NIfTI 1", "NIfTI float", "NIfTI 4D", "NIfTI flat", "NIfTI 1 .gz", "NIfTI extended"),
    *("PNG grey", "PNG colour", "PNG 16 bits"),
    *("DICOM single", "DICOM implicit", "DICOM RLE", "DICOM JPEG-LS", "DICOM padding", "DICOM big endian"),
    *("DICOM jpeg 2000 lossless", "DICOM jpeg 12 bit"),
}
_TINY = 1e-6
_NEAR = 1e-3  # relative to the largest
_DEEP = 8  # sequences


class Fault(Exception):  # noqa: N818 (it is what the readers did wrong)
    """A result that is neither right nor refused in words."""


def is_as_others_read_it(path: Path, seed: Seed, array: NDArray[np.float32]) -> bool:
    """Compare the values of an array, in whatever order, with those that SimpleITK reads.

    Returns:
        False where SimpleITK refuses the file.

    Raises:
        Fault: The values differ.
    """
    if seed.form.startswith("nifti") and _is_scaled_otherwise(nifti_header(path)):
        return False
    if seed.form == "dicom" and path.read_bytes().count(b"SQ\0\0") > _DEEP:
        return False  # GDCM takes twice as long for each further level
    file = sitk.ImageFileReader()
    file.SetImageIO(_READERS[seed.kind.split()[0]])
    file.SetFileName(str(path))
    try:
        image = file.Execute()
    except RuntimeError:
        return False
    other = np.sort(sitk.GetArrayFromImage(image), axis=None).astype(np.float64)
    ours = np.sort(array, axis=None).astype(np.float64)
    if ours.size != other.size:
        raise Fault(f"{ours.size} values, and {other.size} for SimpleITK")
    far = float(np.abs(ours - other).max()) / max(1.0, float(np.abs(other).max()))
    if far > _NEAR:
        raise Fault(f"values that differ from SimpleITK's by {far:.3g} of the largest")
    return True


def _is_scaled_otherwise(header: nibabel.Nifti1Header) -> bool:
    """Say if ITK takes a small slope for none, or adds an intercept where a slope of 0 says not to scale."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return abs(slope) < _TINY and not slope == intercept == 0
