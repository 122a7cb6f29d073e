"""Planes as small pictures, with what is drawn over them in colour: borders of areas, boxes, points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.data.look.planes import Areas, Marks, Plane

LONGEST = 160  # pixels of a tile's longer side; two fit side by side on a phone
# Okabe and Ito 2008, without black, in an order that tells neighbours apart on grey.
COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#d55e00", "#0072b2")
_ENDS = (0.5, 99.5)  # percentiles that become black and white
_MOST_CHANNELS = 4
_BORDER = 2  # pixels
_DOT = 3  # pixels of a dot along a row
_ARM = 3  # of a cross


@dataclass(frozen=True)
class Tile:
    """A small picture.

    Attributes:
        title: What it shows: the plane, the channel; may be empty.
    """

    title: str
    picture: Image.Image
    marks: Marks


def window(image: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values of an image that are shown as black and as white."""
    low, high = np.percentile(image, _ENDS)
    if high <= low:
        low, high = float(image.min()), float(image.max())
    return float(low), float(high)


def tiles(views: Sequence[Plane], ends: tuple[float, float], side: int = LONGEST) -> list[Tile]:
    """Return the planes of one image as pictures of one scale.

    One channel is grey and three are red, green and blue; of others each is shown by itself, four at most.

    Args:
        views: All planes of one image.
        ends: The values that are black and white.
        side: Pixels of the longest side of all of them.
    """
    longest = max(
        length * millimetres
        for view in views
        for length, millimetres in zip(view.image.shape[1:], view.pixel, strict=True)
    )
    return [tile for view in views for tile in _of_plane(view, ends, side / longest)]


def _of_plane(view: Plane, ends: tuple[float, float], scale: float) -> list[Tile]:
    height, width = (
        max(1, round(length * millimetres * scale))
        for length, millimetres in zip(view.image.shape[1:], view.pixel, strict=True)
    )
    if len(view.image) == 3:
        groups = {"": view.image}
    elif len(view.image) == 1:
        groups = {"": np.repeat(view.image, 3, axis=0)}
    else:
        shown = list(enumerate(view.image, 1))[:_MOST_CHANNELS]
        groups = {f"channel {number}": np.stack([channel] * 3) for number, channel in shown}
    drawn = []
    for name, colours in groups.items():
        picture = _resized(_bytes(colours, ends), (width, height))
        for areas in view.areas:
            picture = _outlined(picture, areas)
        _frame(picture, view)
        _cross(picture, view)
        if view.truth is not None:
            picture = _dotted(picture, view.truth)
        title = ", ".join(part for part in (view.title, name) if part)
        drawn.append(Tile(title, picture, view.marks))
    return drawn


def _bytes(colours: NDArray[np.float32], ends: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = ends
    if high <= low:
        return np.full((*colours.shape[1:], 3), 128, np.uint8)
    scaled = np.clip((colours - low) / (high - low), 0, 1)
    return np.ascontiguousarray(np.rint(scaled * 255).astype(np.uint8).transpose(1, 2, 0))


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Enlarge with visible pixels, or shrink smoothly; each axis by itself."""
    picture = Image.fromarray(pixels)
    for wanted in ((size[0], picture.height), size):
        grows = wanted[0] >= picture.width and wanted[1] >= picture.height
        method = Image.Resampling.NEAREST if grows else Image.Resampling.BOX
        picture = picture.resize(wanted, method)
    return picture


def _outlined(picture: Image.Image, mask: Areas) -> Image.Image:
    """Draw the border of each structure, within it, in its colour."""
    labels = _labels(mask, picture)
    border = _border(labels)
    pixels = np.array(picture)
    pixels[border] = _PALETTE[(labels[border].astype(int) - 1) % len(COLOURS)]
    return Image.fromarray(pixels)


def _labels(mask: Areas, picture: Image.Image) -> Areas:
    drawn = Image.fromarray(np.ascontiguousarray(mask))  # of uint8 or int32
    return np.asarray(drawn.resize(picture.size, Image.Resampling.NEAREST))


def _border(labels: Areas) -> NDArray[np.bool_]:
    framed = np.pad(labels, _BORDER)
    inner = (slice(_BORDER, -_BORDER),) * 2
    steps = [step for step in range(-_BORDER, _BORDER + 1) if step]
    neighbours = [np.roll(framed, step, axis)[inner] for axis in (0, 1) for step in steps]
    border: NDArray[np.bool_] = (labels != 0) & np.any([labels != other for other in neighbours], axis=0)
    return border


def _dotted(picture: Image.Image, truth: Plane) -> Image.Image:
    """Draw the borders of what is true: white and black dots, with gaps in which a predicted one is seen."""
    boxes = Image.new("1", picture.size)
    draw = ImageDraw.Draw(boxes)
    for box in truth.boxes:
        draw.rectangle(_corners(box, picture, truth), outline=1)
    border = np.array(boxes)
    for areas in truth.areas:
        border |= _border(_labels(areas, picture))
    rows, columns = np.indices(border.shape)
    place = (rows + columns) // _DOT % 4
    pixels = np.array(picture)
    pixels[border & (place == 0)], pixels[border & (place == 1)] = 255, 0
    return Image.fromarray(pixels)


def _frame(picture: Image.Image, view: Plane) -> None:
    """Draw the plane's boxes, each in the colour of its class."""
    draw = ImageDraw.Draw(picture)
    for box in view.boxes:
        draw.rectangle(_corners(box, picture, view), outline=COLOURS[int(box[-1]) % len(COLOURS)])


def _corners(box: NDArray[np.float32], picture: Image.Image, view: Plane) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a box in the pixels of a picture."""
    scale = np.divide(picture.size[::-1], view.image.shape[1:])
    top, left, bottom, right = np.rint(box[:4].astype(float) * np.tile(scale, 2)).astype(int).tolist()
    return left, top, max(left, right - 1), max(top, bottom - 1)


def _cross(picture: Image.Image, view: Plane) -> None:
    """Draw a cross at each of the plane's points, in the colour of its number."""
    draw = ImageDraw.Draw(picture)
    scale = np.divide(picture.size[::-1], view.image.shape[1:])
    for *place, number in view.points.tolist():
        row, column = np.floor(place * scale).astype(int).tolist()
        colour = COLOURS[int(number) % len(COLOURS)]
        draw.line((column - _ARM, row, column + _ARM, row), fill=colour)
        draw.line((column, row - _ARM, column, row + _ARM), fill=colour)


_PALETTE = np.array(
    [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in COLOURS], np.uint8
)
