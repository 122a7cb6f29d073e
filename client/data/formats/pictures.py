"""PNG, JPEG and BMP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.itk import read_itk_array
from client.data.formats.limits import DEFLATED, require_plausible
from client.data.formats.png import require_sound
from client.data.picture import Picture, Turn
from shared.errors import DataError

_GREY = ("L", "I", "F", "I;16", "I;16L", "I;16B")
_ORIENTATION = 274
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # bytes of a PNG that hold the bits of a sample, and the kind of colour
_GREY_KINDS = (0, 3)
FORMATS = ("PNG", "JPEG", "BMP")


def read_picture(path: Path) -> Picture:
    """Read a picture: one channel or three.

    Raises:
        DataError: Parts of it are transparent.
    """
    require_sound(path)
    if _is_deep_colour(path):
        array, turn = _opaque(read_itk_array(path, "PNGImageIO"), path), Turn.none(2)
        return Picture(turn.apply(array), None, None, turn)
    with _opened(path) as file:
        turn = Turn.exif(file.getexif().get(_ORIENTATION, 1))
        return Picture(turn.apply(_channels(file, path)), None, None, turn)


def read_mask_picture(path: Path) -> Picture:
    """Read a picture whose numbers stand for structures: one channel.

    A palette's numbers count where its colours are no greys. Where a picture is all of one colour, what is
    opaque is the structure.

    Raises:
        DataError: It has colours, or is half transparent in places.
    """
    require_sound(path)
    if _is_deep_colour(path):
        array, turn = read_itk_array(path, "PNGImageIO"), Turn.none(2)
    else:
        with _opened(path) as file:
            turn = Turn.exif(file.getexif().get(_ORIENTATION, 1))
            array = _mask_channels(file)
    return Picture(turn.apply(_one_channel(array, path)), None, None, turn)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture whose header is plausible; no number is read yet."""
    with Image.open(path, formats=FORMATS) as file:
        claimed = (*file.size, len(file.getbands()))
        require_plausible(path, claimed, 1 / 8, DEFLATED, path.stat().st_size)
        yield file


def _channels(file: Image.Image, path: Path) -> NDArray[Any]:
    if file.mode in _GREY:
        return np.asarray(file)[None]
    if file.mode == "1":
        return np.asarray(file.convert("L"))[None]
    if file.mode.endswith(("A", "a")) or "transparency" in file.info:
        return _opaque(
            np.moveaxis(np.asarray(file.convert("LA" if file.mode == "LA" else "RGBA")), -1, 0), path
        )
    return np.moveaxis(np.asarray(file.convert("RGB")), -1, 0)


def _mask_channels(file: Image.Image) -> NDArray[Any]:
    if file.mode == "P" and not _is_grey(file):
        return np.asarray(file)[None]
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
        raise DataError(
            "is transparent in places",
            where=path,
            remedy="Save it without an alpha channel, as it is to be seen.",
        )
    return array[:-1]


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


def _is_deep_colour(path: Path) -> bool:
    """Say if a picture is a PNG with 16 bits for each of several channels, of which Pillow keeps 8."""
    with path.open("rb") as file:
        head = file.read(32)
    is_png = head.startswith(b"\x89PNG") and len(head) == 32
    return is_png and head[_PNG_DEPTH] == 16 and head[_PNG_COLOUR] not in _GREY_KINDS
