"""MetaImage, NRRD, TIFF and deep PNG, read by SimpleITK with the reader that is named, and no other."""

import contextlib
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.library_messages import standard_error_heard
from client.data.formats.limits import DEFLATED, LZW, require_plausible
from client.data.formats.picture import Picture, Turn
from client.data.formats.placed_volumes import placed
from client.data.formats.square_pixels import require_square
from client.data.formats.text_headers import data_files, require_metaimage, says_its_place
from client.data.formats.tiff_pages import Page, require_pages
from shared.errors import DataError
from shared.text.names import shortened
from shared.text.printable import printable

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_DESCRIPTION = 270  # TIFF's tag, where OME keeps its XML
_ACROSS, _DOWN = 282, 283  # the resolution
_MICRONS = {"nm": 1e-6, "µm": 1e-3, "\u03bcm": 1e-3, "um": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0}
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
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_ATTRIBUTE = re.compile(r'\b(\w+)="([^"]*)"')
_PLANES = re.compile(r"^(images|channels|slices|frames)=(\d+)\s*$", re.MULTILINE)  # of ImageJ


def read_itk(path: Path, reader: str, dimensions: int | None) -> Picture:
    """Read a MetaImage or NRRD file, which says where it lies.

    Args:
        path: The file, or the header beside its data.
        reader: SimpleITK's name of the reader.
        dimensions: 3 keeps a volume of one slice a volume.

    Raises:
        ValueError: It has more than three dimensions.
    """
    located = says_its_place(path)
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
        return placed(array, affine, dimensions, located=located)
    spacing = tuple(float(length) for length in image.GetSpacing())
    turn = Turn((1, 0), (False, False), 2)  # the file's first axis runs along the rows
    where = turn.place(affine[:, [0, 1, 3]], array.shape[1:])
    return Picture(turn.apply(array), (spacing[1], spacing[0]), where if located else None, turn)


def read_tiff(path: Path, *, labels: bool = False) -> Picture:
    """Read a TIFF: one page is a picture, several are the slices of a volume.

    The size of a pixel is known where OME's XML says it: the tags of resolution are for printers.

    Args:
        path: The file.
        labels: Whether it is a mask, whose numbers mean more than how dark they are shown.

    Raises:
        DataError: Its pages are not an image, or stored in a way that is read otherwise by other programs.
    """
    page, count = require_pages(path)
    if labels and page.is_negative and page.bits > 1:
        raise DataError(
            "shows 0 as white: whether its numbers or its looks are meant is not known",
            where=path,
            remedy="Save the mask with black as 0 (in ImageJ: Image, Lookup Tables, Grays).",
        )
    if labels and page.is_palette:
        array = _numbers_of_colours(path, count)
    else:
        array = _as_stored(read_itk_array(path, "TIFFImageIO"), page, path)
    text, across, down = _said(path)
    array = _in_channels(array, text, count, path)
    sizes = _ome_sizes(text)
    if not {*"XY"} <= sizes.keys():
        require_square(across, down, "XResolution, YResolution", path)
    if array.ndim == 3:
        return Picture(array, _spacing(sizes, "YX"), None, Turn.none(2))
    volume = np.ascontiguousarray(array.transpose(0, 3, 2, 1))
    return Picture(volume, _spacing(sizes, "XYZ"), None, Turn.none(3))


def _numbers_of_colours(path: Path, count: int) -> NDArray[Any]:
    """Return what the pages of a palette store: labels that a program shows in colours (ImageJ's tables)."""
    with Image.open(path, formats=("TIFF",)) as file:
        pages = []
        for number in range(count):
            file.seek(number)
            if file.mode != "P" or getattr(file, "n_frames", 1) != count:
                raise DataError("has a palette that is not read", where=path, remedy="Save the mask in grey.")
            pages.append(np.asarray(file))
    return np.stack(pages)[None] if count > 1 else pages[0][None]


def _said(path: Path) -> tuple[str, Any, Any]:
    """Return the description of a TIFF, and its resolution across and down."""
    with Image.open(path, formats=("TIFF",)) as file:
        tags: Mapping[int, Any] = file.tag_v2  # type: ignore[attr-defined]
        text, across, down = str(tags.get(_DESCRIPTION, "")), tags.get(_ACROSS), tags.get(_DOWN)
    with contextlib.suppress(UnicodeError):
        text = text.encode("latin-1").decode()  # Pillow takes each byte of UTF-8 for a letter
    return text, across, down


def _as_stored(array: NDArray[Any], page: Page, path: Path) -> NDArray[Any]:
    """Return the channels that the pages have; what ITK can't read plainly it makes RGBA of 8 bits.

    Raises:
        DataError: Bits are lost that way, or it is transparent in places.
    """
    if page.is_palette:
        return array
    if len(array) != page.samples:
        if page.bits > 8 or len(array) != 4 or page.samples not in (1, 3):
            raise DataError(
                f"stores {page.samples} channels of {page.bits} bits in a way that is not read",
                where=path,
                remedy="Save it with its channels pixel by pixel (PlanarConfiguration 1).",
            )
        array = array[: page.samples]
    elif page.is_negative and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    if page.has_alpha:
        if (array[-1] != np.iinfo(array.dtype).max).any():
            raise DataError(
                "is transparent in places", where=path, remedy="Save it without an alpha channel."
            )
        array = array[:-1]
    return array


def _in_channels(array: NDArray[Any], text: str, count: int, path: Path) -> NDArray[Any]:
    """Return pages that are channels as channels, as OME's XML or ImageJ's text says.

    Raises:
        DataError: The pages are moments, or not as many as the text says.
    """
    planes = {name: int(number) for name, number in _PLANES.findall(text)} if "ImageJ" in text else {}
    ome = _ome_attributes(text)
    channels = planes.get("channels", 1) if planes else _count(ome, "SizeC") // max(1, len(array))
    slices = planes.get("slices", 1) if planes else _count(ome, "SizeZ")
    frames = planes.get("frames", 1) if planes else _count(ome, "SizeT")
    if frames > 1:
        raise DataError(
            f"is a film of {frames} moments, not an image",
            where=path,
            remedy="Save the moment that is meant; a kind of field for series reads a folder of frames.",
        )
    told = channels * slices if {"channels", "slices"} & planes.keys() or ome else planes.get("images", count)
    if told != count:
        raise DataError(
            f"says that it has {told} pages, and has {count}",
            where=path,
            remedy="Save it as one file that holds all of them.",
        )
    if channels <= 1:
        return array
    if len(array) > 1:
        raise DataError("has channels of colours, which are not read", where=path)
    slowest = ome.get("DimensionOrder", "XYCZT").index("C") > ome.get("DimensionOrder", "XYCZT").index("Z")
    split = (channels, slices) if slowest else (slices, channels)
    pages = array[0].reshape(*split, *array.shape[2:])
    pages = pages if slowest else pages.swapaxes(0, 1)
    return np.ascontiguousarray(pages[:, 0] if slices == 1 else pages)


def _count(ome: Mapping[str, str], name: str) -> int:
    return int(ome[name]) if ome.get(name, "").isdecimal() else 1


def _ome_attributes(text: str) -> dict[str, str]:
    """Return what OME's XML says of the pixels of its first image."""
    found = _PIXELS.search(text) if "OME" in text else None
    return dict(_ATTRIBUTE.findall(found[0])) if found else {}


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


def _ome_sizes(text: str) -> dict[str, float]:
    """Return the millimetres of a pixel along X, Y and Z, as far as OME's XML says them in a known unit."""
    said, found = _ome_attributes(text), {}
    for axis in "XYZ":
        unit = _MICRONS.get(html.unescape(said.get(f"PhysicalSize{axis}Unit", "µm")))
        with contextlib.suppress(KeyError, ValueError):
            if unit is not None:
                found[axis] = float(said[f"PhysicalSize{axis}"]) * unit
    return found
