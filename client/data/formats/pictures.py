"""PNG, JPEG and BMP."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from client.data.formats.itk import read_itk_array
from client.data.formats.library_messages import warnings_heard
from client.data.formats.limits import DEFLATED, require_plausible
from client.data.formats.picture import Picture, Turn
from client.data.formats.png import Depth, require_sound
from client.data.formats.square_pixels import require_square
from shared.errors import DataError

_GREY = ("L", "I", "F", "I;16", "I;16L", "I;16B")
_ORIENTATION, _ACROSS, _DOWN = 274, 282, 283
FORMATS = ("PNG", "JPEG", "BMP")
_OTHERS = (  # what is called .jpg or .png and is not
    (re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"....ftypavi", re.DOTALL), "AVIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"GIF8"), "GIF"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "TIFF"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb".{128}DICM", re.DOTALL), "DICOM"),
)
_LONGEST_HEAD = 132
_AT_ONCE = 2**24  # bytes of a file that are read as a whole: quicker than part by part


def read_picture(path: Path) -> Picture:
    """Read a picture: one channel or three.

    Raises:
        DataError: Parts of it are transparent.
    """
    with _opened(path) as (file, depth):
        turn = Turn.exif(file.getexif().get(_ORIENTATION, 1))
        if depth is not None and depth.is_deep_colour:
            array = _opaque(read_itk_array(path, "PNGImageIO"), path)
        else:
            array = _channels(file, path, 1 if depth is None else depth.scale)
        return Picture(turn.apply(array), None, None, turn)


def read_mask_picture(path: Path) -> Picture:
    """Read a picture whose numbers stand for structures: one channel.

    A palette's numbers count where its colours are not greys. Where a picture is all of one colour, what is
    opaque is the structure.

    Raises:
        DataError: It has colours, or is half transparent in places.
    """
    with _opened(path) as (file, depth):
        turn = Turn.exif(file.getexif().get(_ORIENTATION, 1))
        if depth is not None and depth.is_deep_colour:
            array = read_itk_array(path, "PNGImageIO")
        else:
            array = _mask_channels(file, path)
            if depth is not None and file.mode == "L" and depth.bits > 1:
                array = array // depth.scale
    return Picture(turn.apply(_one_channel(array, path)), None, None, turn)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, Depth | None]]:
    """Open a picture that is whole and whose header is plausible; no number is made of it yet."""
    with path.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        at_once = size <= _AT_ONCE or not source.seekable()  # a named pipe
        content = BytesIO(source.read()) if at_once else source
        held = content.seek(0, os.SEEK_END)
        content.seek(0)
        depth, whole = require_sound(content, path)
        if isinstance(whole, Image.Image):
            yield whole, depth
            return
        with warnings_heard(), _decoder(whole, content, path) as file:
            require_plausible(path, (*file.size, len(file.getbands())), 1 / 8, DEFLATED, held)
            if file.format == "PNG" and getattr(file, "is_animated", False):
                raise DataError(
                    "is a film (APNG)",
                    where=path,
                    remedy="Save the frame that is meant as a file of its own.",
                )
            _require_square(file, path)
            yield file, depth


def _require_square(file: Image.Image, path: Path) -> None:
    """Refuse a JPEG or BMP whose pixels are not square; a PNG says it elsewhere."""
    exif = file.getexif()
    for name, said in (
        ("JFIF", file.info.get("jfif_density")),
        ("Exif", (exif.get(_ACROSS, 0), exif.get(_DOWN, 0))),
        ("its header", file.info.get("dpi") if file.format == "BMP" else None),
    ):
        across, down = said or (0, 0)
        require_square(across, down, name, path)


def _decoder(whole: BinaryIO, content: BinaryIO, path: Path) -> Image.Image:
    try:
        return Image.open(whole, formats=FORMATS)
    except UnidentifiedImageError:
        raise DataError(
            _what_it_is(content), where=path, remedy="Save it as PNG, or copy it again."
        ) from None


def _what_it_is(content: BinaryIO) -> str:
    content.seek(0)
    head = content.read(_LONGEST_HEAD)
    found = next((name for pattern, name in _OTHERS if pattern.match(head)), None)
    return (
        f"is of the format {found}, whatever its name says"
        if found
        else "can't be read: it is not a picture, or damaged"
    )


def _channels(file: Image.Image, path: Path, scale: int) -> NDArray[Any]:
    """Return the channels of a picture; those of few bits are spread by `scale` to 255."""
    if file.mode in (*_GREY, "1"):
        array = np.asarray(file.convert("L") if file.mode == "1" else file)[None]
        hidden = file.info.get("transparency")  # of several bits as the file has it, before it is spread
        if hidden is not None and (array == hidden * (1 if file.mode == "1" else scale)).any():
            raise _transparent(path)
        return array
    _require_colours(file, path)
    if file.mode.endswith(("A", "a")) or "transparency" in file.info:
        return _opaque(
            np.moveaxis(np.asarray(file.convert("LA" if file.mode == "LA" else "RGBA")), -1, 0), path
        )
    return np.moveaxis(np.asarray(file if file.mode == "RGB" else file.convert("RGB")), -1, 0)


def _require_colours(file: Image.Image, path: Path) -> None:
    """Refuse pixels with the number of a colour that the palette has not: decoders show them black.

    Raises:
        DataError: There are some.
    """
    if file.mode != "P":
        return
    colours = len(file.getpalette("RGB") or []) // 3
    if (highest := int(np.asarray(file).max(initial=0))) >= colours:
        raise DataError(
            f"has pixels of colour {highest}, and its palette has {colours} colours",
            where=path,
            remedy="It is damaged: save it again, in colour or in grey.",
        )


def _mask_channels(file: Image.Image, path: Path) -> NDArray[Any]:
    if file.mode == "P" and not _is_grey(file):
        return np.asarray(file)[None]
    _require_colours(file, path)
    if file.mode in _GREY:
        return np.asarray(file)[None]
    if file.mode in ("1", "P"):
        return np.asarray(file.convert("L"))[None]
    if file.mode not in ("LA", "RGB", "RGBA"):
        file = file.convert("RGBA" if "A" in file.mode else "RGB")
    return np.moveaxis(np.asarray(file), -1, 0)


def _is_grey(image: Image.Image) -> bool:
    palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    return bool((palette == palette[:, :1]).all())


def _opaque(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Take off an alpha channel (2 or 4 channels) that hides nothing."""
    if len(array) in (1, 3):
        return array
    if (array[-1] != np.iinfo(array.dtype).max).any():
        raise _transparent(path)
    return array[:-1]


def _transparent(path: Path) -> DataError:
    remedy = "Save it without an alpha channel, as it is to be seen."
    return DataError("is transparent in places", where=path, remedy=remedy)


def _one_channel(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the one channel of 1 to 4 that holds a mask's numbers."""
    colours, alpha = (array[:-1], array[-1]) if len(array) in (2, 4) else (array, None)
    if (colours != colours[:1]).any():
        raise DataError(
            "has colours, and a mask holds numbers",
            where=path,
            remedy="Save one number for each structure: 0 for the background, 1 for the first structure.",
        )
    grey = colours[:1]
    largest = np.iinfo(grey.dtype).max
    if alpha is None or (alpha == largest).all():
        return grey
    if (grey == grey.flat[0]).all() or (grey[0][alpha > 0] == grey[0][alpha > 0].flat[:1]).all():
        return alpha[None]
    raise DataError(
        "is transparent in places and not of one colour: which of the two is the structure?",
        where=path,
        remedy="Save the mask without an alpha channel.",
    )
