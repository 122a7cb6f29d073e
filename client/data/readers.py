"""Image files as arrays: PNG and JPEG, NIfTI, DICOM.

One order of axes for all of them. A picture (2D) is (C, rows, columns) as it is looked at: from the top, from
the left; for a NIfTI slice that is the radiological view. A volume (3D) is (C, x, y, z), turned to RAS+ (x to
the patient's right, y to the front, z to the head), so that volumes of two hospitals lie the same way.

MONAI's readers wrap the same libraries; they are not used, because they turn no flat NIfTI file to RAS+, for
DICOM see `client.data.dicom`, and with them `wardround data check` would load PyTorch first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.misc import is_dicom

from client.data.dicom import read_series, read_slice
from shared.errors import DataError

_PICTURES = (".png", ".jpg", ".jpeg")
_NIFTI = (".nii", ".nii.gz")
_GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B")
_TO_MM = {"meter": 1000.0, "micron": 0.001}
T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """An image as it was read.

    Attributes:
        array: (C, rows, columns) or (C, x, y, z), float32, in the file's own units.
        spacing: Millimetres along each spatial axis, or None where the file does not say.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.array.shape[1:]


def read_image(path: Path, dimensions: int | None = None) -> Picture:
    """Read a PNG, JPEG, NIfTI or DICOM file, or a folder with a DICOM series.

    Args:
        path: The file, or the folder.
        dimensions: 2 for a picture, 3 for a volume; None takes what the file holds.

    Raises:
        DataError: The file is missing, damaged, of no known format, of other dimensions, or not finite.
    """
    picture = _guarded(path, lambda: _read(path, dimensions))
    found = len(picture.shape)
    if dimensions is not None and found != dimensions:
        what = {2: "a picture (2D)", 3: "a volume (3D)"}
        raise DataError(
            f"is {what.get(found, f'an image of {found} dimensions')}, but the job wants {what[dimensions]}",
            where=path,
        )
    if not np.isfinite(picture.array).all():
        raise DataError("has values that are not finite numbers", where=path)
    return picture


def read_images(paths: Sequence[Path], dimensions: int | None = None, channels: int | None = None) -> Picture:
    """Read the files of one image and stack them along the channels.

    A colour picture whose three channels are the same counts as grey where one channel is wanted.

    Args:
        paths: One file a column of the job.
        dimensions: 2 or 3; None takes what the files hold.
        channels: How many channels there must be in all; None takes what the files hold.

    Raises:
        DataError: As `read_image`; or sizes or spacings that differ; or a wrong number of channels.
    """
    pictures = [read_image(path, dimensions) for path in paths]
    first = pictures[0]
    for path, picture in zip(paths[1:], pictures[1:], strict=True):
        if picture.shape != first.shape:
            raise DataError(
                f"is {size(picture.shape)}, but {paths[0].name} is {size(first.shape)}", where=path
            )
    arrays = [picture.array for picture in pictures]
    if channels == len(arrays):
        arrays = [_as_grey(array) for array in arrays]
    array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    if channels is not None and len(array) != channels:
        remedy = f"Set [data] channels = {len(array)}, or convert the image."
        found = f"has {len(array)} channel{'s' * (len(array) > 1)}, but the job wants {channels}"
        raise DataError(found, where=paths[0], remedy=remedy)
    return Picture(array, first.spacing)


def size(shape: Sequence[int]) -> str:
    """Return a shape as people write it: '128x96'."""
    return "x".join(str(length) for length in shape)


def read_raw_mask(path: Path, dimensions: int | None = None) -> NDArray[np.float32]:
    """Read a mask with the values that its file holds, shaped like the image's spatial axes.

    Raises:
        DataError: As `read_image`; or the file has several channels.
    """
    if path.suffix.lower() in _PICTURES:
        return _guarded(path, lambda: _mask_picture(path))
    picture = read_image(path, dimensions)
    if len(picture.array) != 1:
        raise DataError(f"has {len(picture.array)} channels, but a mask has one", where=path)
    return picture.array[0]


def read_mask(path: Path, classes: int, dimensions: int | None = None) -> NDArray[np.uint8]:
    """Read a mask as class indices: 0 is background, 1 to `classes` the structures.

    With one class: a picture's foreground is above 127, or 1 where no value is above 1; in NIfTI and DICOM it is
    above 0.5. With several classes the values are the indices.

    Returns:
        The mask, uint8, shaped like the image's spatial axes.

    Raises:
        DataError: As `read_raw_mask`; or a value that is not an index of a class.
    """
    raw = read_raw_mask(path, dimensions)
    if classes == 1:
        return _foreground(raw, path)
    indices = np.rint(raw)
    wrong = raw[(indices != raw) | (raw < 0) | (raw > classes)]
    if wrong.size:
        raise DataError(
            f"holds the value {wrong.flat[0]:g}, but the values of {classes} classes are 0 to {classes}",
            where=path,
        )
    return indices.astype(np.uint8)


def _foreground(raw: NDArray[np.float32], path: Path) -> NDArray[np.uint8]:
    if path.suffix.lower() not in _PICTURES:
        return (raw > 0.5).astype(np.uint8)
    highest = raw.max(initial=0)
    if highest <= 1:
        return (raw == 1).astype(np.uint8)
    if highest <= 127 and path.suffix.lower() == ".png":  # JPEG leaves traces of noise in an empty mask
        raise DataError(
            f"has values up to {highest:g}: neither 0 and 1 nor 0 and 255",
            where=path,
            remedy="Save the mask with 255 for the structure, or name its classes in the job.",
        )
    return (raw > 127).astype(np.uint8)


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """Turn whatever a decoder raises on a damaged file into one DataError."""
    try:
        return read()
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        raise DataError("the file is missing", where=path) from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"can't be read: {reason}", where=path) from None


def _read(path: Path, dimensions: int | None) -> Picture:
    name = path.name.lower()
    if path.is_dir():
        return _from_nifti(read_series(path), dimensions)
    if name.endswith(_PICTURES):
        return Picture(_picture(path), None)
    if name.endswith(_NIFTI):
        return _from_nifti(nibabel.load(path), dimensions)
    if name.endswith(".dcm") or is_dicom(path):
        return Picture(*read_slice(path))
    raise DataError("is of no known format; known are PNG, JPEG, NIfTI and DICOM", where=path)


def _picture(path: Path) -> NDArray[np.float32]:
    with Image.open(path, formats=("PNG", "JPEG")) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode in ("1", "LA"):
            image = image.convert("L")
        elif image.mode not in _GREY:
            image = image.convert("RGB")
        array = np.asarray(image, dtype=np.float32)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, -1, 0))


def _mask_picture(path: Path) -> NDArray[np.float32]:
    with Image.open(path, formats=("PNG", "JPEG")) as file:
        image = ImageOps.exif_transpose(file)
        numbers = image.mode == "P" and not _is_grey(image)  # colours stand for classes: their numbers count
        if numbers or image.mode.startswith("I"):
            return np.asarray(image, dtype=np.float32)
        return np.asarray(image.convert("L"), dtype=np.float32)


def _is_grey(image: Image.Image) -> bool:
    palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    return bool((palette == palette[:, :1]).all())


def _from_nifti(image: nibabel.Nifti1Image, dimensions: int | None) -> Picture:
    data = image.get_fdata(dtype=np.float32, caching="unchanged")
    data = data.reshape(data.shape + (1,) * (3 - data.ndim))
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, image.affine))
    millimetres = _TO_MM.get(image.header.get_xyzt_units()[0], 1.0)
    spacing = tuple(float(length) * millimetres for length in voxel_sizes(turned.affine))
    array = np.asarray(turned.dataobj, dtype=np.float32)
    array = (
        array[None]
        if array.ndim == 3
        else np.moveaxis(array, tuple(range(3, array.ndim)), range(array.ndim - 3))
    )
    if array.ndim != 4:
        raise DataError(f"has {data.ndim} dimensions", where=image.get_filename())
    flat = [axis for axis, length in enumerate(array.shape[1:]) if length == 1]
    if dimensions != 3 and len(flat) == 1:
        picture = np.flip(array, axis=(1, 2, 3)).squeeze(flat[0] + 1).swapaxes(1, 2)
        kept = [length for axis, length in enumerate(spacing) if axis != flat[0]]
        return Picture(np.ascontiguousarray(picture), (kept[1], kept[0]))
    return Picture(np.ascontiguousarray(array), spacing)


def _as_grey(array: NDArray[np.float32]) -> NDArray[np.float32]:
    same = len(array) == 3 and (array[0] == array[1]).all() and (array[0] == array[2]).all()
    return array[:1] if same else array
