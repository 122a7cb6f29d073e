"""Image files as pictures: which reader a file needs, and which files lie on each other.

MONAI's readers wrap the same libraries; they are not used, because they turn no flat NIfTI file to RAS+, drop
bits before anybody has looked, and with them `wardround data check` would load PyTorch first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.misc import is_dicom

from client.data.formats.arrays import read_array
from client.data.formats.dicom import (
    is_segmentation,
    is_structure_set,
    load,
    read_file,
    read_segments,
    read_series,
    read_structures,
    require_order,
)
from client.data.formats.itk import read_itk, read_tiff
from client.data.formats.nifti import read_nifti
from client.data.formats.picture import Picture
from client.data.formats.pictures import read_mask_picture, read_picture
from client.data.formats.unread import unread
from client.data.images.colours import as_grey, channels_remedy, coloured
from client.data.images.geometry import Geometry, on_grid, settle_orientation, size
from client.data.images.mask_files import Mask, mask_files, one_map
from client.data.images.masks import class_indices, values_of
from client.data.images.refusing import PICTURES, guarded, refusing
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.tasks.fields import Field

__all__ = [
    "ENDINGS",
    "Layout",
    "Picture",
    "mask_indices",
    "mask_values",
    "read_files",
    "read_image",
    "read_images",
    "read_mask",
    "read_raw_mask",
    "size",
]

_LOSSY = (".jpg", ".jpeg")
_NIFTI = (".nii", ".nii.gz")
_TIFF = (".tif", ".tiff")
_ITK = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}
ENDINGS = (*PICTURES, *_NIFTI, *_TIFF, *_ITK, ".npy", ".dcm")


def read_image(path: Path, dimensions: int | None = None) -> Picture:
    """Read one image file, or a folder with a DICOM series.

    Args:
        path: The file, or the folder.
        dimensions: 2 for a picture, 3 for a volume; None takes what the file holds.

    Returns:
        The picture, with float32 numbers.

    Raises:
        DataError: The file is missing, damaged, of no known format, of other dimensions, or its numbers are
            not finite or not exact in float32.
    """
    picture = guarded(path, lambda: _read(path, dimensions))
    _require_dimensions(picture, path, dimensions)
    _require_spacing(picture, path)
    return replace(picture, array=picture.floats(path))


def read_images(
    paths: Sequence[Path],
    dimensions: int | None = None,
    channels: int | None = None,
) -> Picture:
    """Read the files of one image and stack them along the channels.

    A colour picture whose three channels are the same counts as grey where one channel is wanted.

    Args:
        paths: One file for each column of the job.
        dimensions: 2 or 3; None takes what the files hold.
        channels: How many channels there must be in all; None takes what the files hold.

    Raises:
        DataError: As `read_image`; or files that lie elsewhere; or a wrong number of channels.
    """
    return read_files(paths, None, Layout(dimensions, channels))[0]


def structure_indices(raw: Picture, path: Path, field: Field) -> NDArray[np.uint8]:
    """Return a mask as the indices of its field's classes (*S), 0 is the background.

    Raises:
        DataError: A value is of no class.
    """
    how: Literal["any", "labels"] = "any" if field.instances else "labels"
    return mask_indices(raw, path, len(field.classes), field.values, how)


@dataclass(frozen=True)
class Layout:
    """What the files of a sample must be; see `[data]` of a job. None takes what they hold."""

    dimensions: int | None = None
    channels: int | None = None
    colour: Literal["rgb", "grey"] | None = None
    geometry: Geometry = "strict"
    classes: tuple[str, ...] = ()  # name the structures of a structure set, and order files of one each
    mapped: bool = False  # whether the job says which label is which class

    @classmethod
    def of(cls, job: JobSpec) -> "Layout":
        """Return what a job wants."""
        data = job.data
        mask = next((own for own in job.task.fields().values() if own.kind == "mask"), None)
        classes = () if mask is None or mask.instances else mask.classes
        mapped = mask is not None and mask.values is not None
        return cls(data.dimensions, data.channels, data.colour, data.geometry, classes, mapped)


def read_files(images: Sequence[Path], mask: Mask | None, layout: Layout) -> tuple[Picture, Picture | None]:
    """Read the files of one sample, with the mask's own values.

    Returns:
        The image, and the mask on its grid.

    Raises:
        DataError: As `read_images`; or the mask is the image, lies elsewhere, or has several channels; or
            masks of several files overlap.
    """
    paths = list(images)
    pictures = [read_image(path, layout.dimensions) for path in images]
    masks = mask_files(mask)
    if not masks:
        return _stacked(settle_orientation(pictures, paths), paths, layout), None
    for path in masks:
        if path in paths:
            raise DataError("is the image itself", where=path, remedy="Name the mask in the column 'mask'.")
    how = replace(layout, mapped=layout.mapped or len(masks) > 1)  # of several files the place says the class
    raws = [_mask_of(path, pictures[0], how) for path in masks]
    settled = settle_orientation([*pictures, *raws], [*paths, *masks])
    image = _stacked(settled[: len(paths)], paths, layout)
    placed = [
        on_grid(image, raw, paths[0], path, layout.geometry, labels=True)
        for raw, path in zip(settled[len(paths) :], masks, strict=True)
    ]
    return image, one_map(placed, masks, len(layout.classes))


def mask_indices(
    raw: Picture,
    path: Path,
    classes: int,
    labels: Mapping[int, int] | None = None,
    mask: Literal["labels", "any"] = "labels",
) -> NDArray[np.uint8]:
    """Return a mask as class indices (*S); see `client.data.images.masks.class_indices`."""
    return refusing(path, lambda: class_indices(raw, path, classes, labels, mask, lossy=_is_lossy(path)))


def mask_values(raw: Picture, path: Path) -> NDArray[np.int64]:
    """Return the labels of a mask, without the background; see `client.data.images.masks.values_of`."""
    return refusing(path, lambda: values_of(raw, path, lossy=_is_lossy(path)))


def _stacked(pictures: Sequence[Picture], paths: Sequence[Path], layout: Layout) -> Picture:
    first = pictures[0]
    others = [
        on_grid(first, picture, paths[0], path, layout.geometry, labels=False)
        for path, picture in zip(paths[1:], pictures[1:], strict=True)
    ]
    arrays = [picture.array for picture in (first, *others)]
    channels, colour = layout.channels, layout.colour
    if colour is not None:
        arrays = [coloured(array, colour, path) for array, path in zip(arrays, paths, strict=True)]
    elif channels == len(arrays):
        arrays = [as_grey(array) for array in arrays]
    array = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    if channels is not None and len(array) != channels:
        found = f"has {len(array)} channel{'s' * (len(array) > 1)}, but the job wants {channels}"
        raise DataError(found, where=paths[0], remedy=channels_remedy(len(array), channels, colour))
    notes = tuple(note for picture in (first, *others) for note in picture.notes)
    return replace(first, array=array, notes=notes)


def _mask_of(path: Path, image: Picture, layout: Layout) -> Picture:
    """Read an image's mask; contours are filled on the image's grid."""
    structures = guarded(path, lambda: _structures(path, image, layout)) if _is_dicom(path) else None
    return read_raw_mask(path, len(image.shape)) if structures is None else structures


def _structures(path: Path, image: Picture, layout: Layout) -> Picture | None:
    dataset = load(path)
    if is_structure_set(dataset):
        return read_structures(dataset, path, image, layout.classes)
    if is_segmentation(dataset) and not layout.mapped:
        require_order(dataset, path, layout.classes)
    return None


def read_raw_mask(path: Path, dimensions: int | None = None) -> Picture:
    """Read a mask with the values that its file holds.

    Raises:
        DataError: As `read_image`; or the file has several channels, or is transparent in places.
    """
    picture = guarded(path, lambda: _read_mask(path, dimensions))
    _require_dimensions(picture, path, dimensions)
    _require_spacing(picture, path)
    return picture


def _read_mask(path: Path, dimensions: int | None) -> Picture:
    if path.suffix.lower() in PICTURES:
        return read_mask_picture(path)
    if path.suffix.lower() in _TIFF:
        return read_tiff(path, labels=True)
    if not _is_dicom(path):
        return _read(path, dimensions)
    dataset = load(path)
    if is_structure_set(dataset):
        raise DataError("is a structure set: its contours mean something beside an image only", where=path)
    return read_segments(dataset, path, dimensions) if is_segmentation(dataset) else _read(path, dimensions)


def _is_dicom(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(".dcm"):
        return path.is_file()
    return not name.endswith(ENDINGS) and path.is_file() and is_dicom(path)


def read_mask(path: Path, classes: int, dimensions: int | None = None) -> NDArray[np.uint8]:
    """Read a mask as class indices: 0 is background, 1 to `classes` the structures.

    Returns:
        The mask, uint8 (*S), turned as an image of its format is.

    Raises:
        DataError: As `read_raw_mask`; or a value that is not an index of a class (see
            `client.data.images.masks`).
    """
    return mask_indices(read_raw_mask(path, dimensions), path, classes)


def _require_dimensions(picture: Picture, path: Path, dimensions: int | None) -> None:
    found = len(picture.shape)
    if dimensions is not None and found != dimensions:
        what = {2: "a picture (2D)", 3: "a volume (3D)"}
        raise DataError(
            f"is {what.get(found, f'an image of {found} dimensions')}, but the job wants {what[dimensions]}",
            where=path,
        )
    if 0 in picture.array.shape:
        raise DataError("is empty", where=path)


def _require_spacing(picture: Picture, path: Path) -> None:
    if picture.spacing is not None and not all(0 < length < np.inf for length in picture.spacing):
        raise DataError(
            f"says that its voxels are {' x '.join(f'{x:g}' for x in picture.spacing)} mm",
            where=path,
            remedy="Correct its header.",
        )


def _is_lossy(path: Path) -> bool:
    return path.suffix.lower() in _LOSSY


def _read(path: Path, dimensions: int | None) -> Picture:
    name = path.name.lower()
    readers: Mapping[tuple[str, ...], Callable[[], Picture]] = {
        PICTURES: lambda: read_picture(path),
        _NIFTI: lambda: read_nifti(path, dimensions),
        _TIFF: lambda: read_tiff(path),
        tuple(_ITK): lambda: read_itk(path, _ITK[path.suffix.lower()], dimensions),
        (".npy",): lambda: read_array(path, dimensions),
    }
    if path.is_dir():
        return read_series(path, dimensions)
    for endings, read in readers.items():
        if name.endswith(endings):
            return read()
    if name.endswith(".dcm") or is_dicom(path):
        return read_file(path, dimensions)
    raise unread(path)
