"""MetaImage, NRRD, TIFF and deep PNG, read by SimpleITK with the reader that is named, and no other."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.heard import standard_error_heard
from client.data.formats.limits import DEFLATED, LZW, require_plausible
from client.data.formats.placed import placed
from client.data.formats.text_headers import data_files, require_metaimage
from client.data.formats.tiff_pages import require_pages
from client.data.picture import Picture, Turn
from shared.errors import DataError
from shared.names import shortened
from shared.printable import printable

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_DESCRIPTION = 270  # TIFF's tag, where OME keeps its XML
_MICRONS = {"nm": 1e-6, "µm": 1e-3, "um": 1e-3, "mm": 1.0, "cm": 10.0}
_REMEDY = "Copy or export it again."
_LONGEST = 200  # letters of what somebody else says
_OF_ITK = re.compile(r"^(Exception thrown|/|sitk::|.*\.(cxx|hxx|h):\d+)|^in method")
_ITS_NAME = re.compile(r"ITK ERROR: \w+\(0x[0-9a-f]+\): ")
_COMPLAINT = re.compile(
    r"TIFF|Decode|Setup|Strip|Missing|Row out of range|JPEG|^Meta\w+:|^M\w+_\w+|libpng|^ideal|Uncompress"
    r"|defined|file record|Sorry, can not|No space|not implemented|Apparently|: Warning, |[Ff]ailed"
)
_HARMLESS = re.compile(
    r"Warning, (Unknown field|Invalid TIFF directory; tags are not sorted)|libpng warning: iCCP"
)
_OME_SIZE = r'PhysicalSize{axis}="([0-9.eE+-]+)"(?:[^>]*PhysicalSize{axis}Unit="([^"]+)")?'


def read_itk(path: Path, reader: str, dimensions: int | None) -> Picture:
    """Read a MetaImage or NRRD file, which says where it lies.

    Args:
        path: The file, or the header beside its data.
        reader: SimpleITK's name of the reader.
        dimensions: 3 keeps a volume of one slice a volume.

    Raises:
        ValueError: It has more than three dimensions.
    """
    image = _read(path, reader)
    axes = image.GetDimension()
    if axes not in (2, 3):
        raise ValueError(f"it has {axes} dimensions")
    array = _file_order(image)
    directions = np.reshape(image.GetDirection(), (axes, axes)) * image.GetSpacing()
    affine = np.eye(4)
    affine[:axes, :axes] = directions
    affine[:axes, 3] = image.GetOrigin()
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    if axes == 3:
        return placed(array, affine, dimensions)
    spacing = tuple(float(length) for length in image.GetSpacing())
    turn = Turn((1, 0), (False, False), 2)  # the file's first axis runs along the rows
    where = turn.place(affine[:, [0, 1, 3]], array.shape[1:])
    return Picture(turn.apply(array), (spacing[1], spacing[0]), where, turn)


def read_tiff(path: Path) -> Picture:
    """Read a TIFF: one page is a picture, several are the slices of a volume.

    The size of a pixel is known where OME's XML says it: the tags of resolution are for printers.
    """
    require_pages(path)
    array = read_itk_array(path, "TIFFImageIO")
    sizes = _ome_sizes(path)
    if array.ndim == 3:
        return Picture(array, _spacing(sizes, "YX"), None, Turn.none(2))
    volume = np.ascontiguousarray(array.transpose(0, 3, 2, 1))
    return Picture(volume, _spacing(sizes, "XYZ"), None, Turn.none(3))


def _spacing(sizes: dict[str, float], axes: str) -> tuple[float, ...] | None:
    return tuple(sizes[axis] for axis in axes) if set(axes) <= sizes.keys() else None


def read_itk_array(path: Path, reader: str) -> NDArray[Any]:
    """Return the numbers of a picture (C, rows, columns) or of a stack (C, pages, rows, columns)."""
    import SimpleITK as sitk  # noqa: N813, PLC0415 (takes a while to load, and few need it)

    image = _read(path, reader)
    array = sitk.GetArrayFromImage(image)
    return np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]


def _file_order(image: Any) -> NDArray[Any]:
    """Return the numbers as (C, x, y[, z])."""
    import SimpleITK as sitk  # noqa: N813, PLC0415

    array = sitk.GetArrayFromImage(image)
    several = image.GetNumberOfComponentsPerPixel() > 1
    array = np.moveaxis(array, -1, 0) if several else array[None]
    return array.transpose(0, *range(array.ndim - 1, 0, -1))


def _read(path: Path, reader: str) -> Any:
    """Read a file whose header is plausible, and that is whole.

    Raises:
        DataError: It is damaged: ITK says so on the standard error, and goes on.
    """
    import SimpleITK as sitk  # noqa: N813, PLC0415

    file = sitk.ImageFileReader()
    file.SetImageIO(reader)  # what a file calls itself chooses nothing
    file.SetFileName(str(path))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if reader == "MetaImageIO":
        require_metaimage(path)
    held = sum(one.stat().st_size for one in (path, *data_files(path)))
    with standard_error_heard(_COMPLAINT) as said:
        try:
            file.ReadImageInformation()
            shape = (*file.GetSize(), file.GetNumberOfComponents())
            require_plausible(path, shape, 1, LZW if reader == "TIFFImageIO" else DEFLATED, held)
            image = file.Execute()
        except RuntimeError as error:
            found = _reason(str(error)) if not said else said[0]
            raise DataError(f"can't be read: {found}", where=path) from None
    if bad := [line for line in said if not _HARMLESS.search(line)]:
        raise DataError(
            f"is damaged ({shortened(printable(bad[0]), _LONGEST)})", where=path, remedy="Copy it again."
        )
    return image


def _reason(text: str) -> str:
    """Return what ITK's exception says, without its own lines of code."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _OF_ITK.search(line)]
    said = _ITS_NAME.sub("", " ".join(lines))
    return shortened(printable(said), _LONGEST) or "ITK does not say why"


def _ome_sizes(path: Path) -> dict[str, float]:
    """Return the millimetres of a pixel along X, Y and Z, as far as OME's XML says them."""
    with Image.open(path, formats=("TIFF",)) as file:
        text = str(file.tag_v2.get(_DESCRIPTION, ""))  # type: ignore[attr-defined]
    found = {}
    for axis in "XYZ":
        match = re.search(_OME_SIZE.format(axis=axis), text)
        if match is not None and "OME" in text:
            found[axis] = float(match[1]) * _MICRONS.get(match[2] or "µm", 1e-3)
    return found
