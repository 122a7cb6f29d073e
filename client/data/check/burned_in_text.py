"""Text that was written into the picture itself, such as a patient's name or the side of the body.

Letters are looked for by their form, and read by `tesseract` where it is installed. What they say is neither
kept nor shown.
"""

import os
import shutil
import subprocess
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from client.data.images.grey_picture import grey

LONGEST = 768  # pixels; letters are still legible then
LETTERS = 4  # in a row, from which it is text
_UNSURE = 2  # letters in a row, from which tesseract is asked
_CONTRAST = 0.35  # of a letter with what lies around it, of the picture's range
_STROKE = 9  # pixels; whatever is wider, in both directions, is not a letter
_HEIGHTS = range(5, 33)  # pixels of a letter
_MOST_ASKED = 100  # pictures that tesseract is shown in one check: it takes up to 0.3 s for each
_AT_ONCE = 25  # pictures that it is shown at a time
_PAGE = 1  # column of its table that says which picture a word is in
_TIMEOUT = 5.0  # seconds for one picture
_LEGIBLE = 512  # pixels; smaller pictures are doubled for tesseract, which wants letters of 20 pixels
_SURE = 60.0  # per cent, of tesseract's confidence in a word
_LEAST_WORD = 3  # letters


@dataclass(frozen=True)
class _Letter:
    """A component that has the form of a letter: where it is, and how bright."""

    top: int
    bottom: int
    left: int
    right: int
    shade: float

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def continues(self, last: "_Letter", first: "_Letter") -> bool:
        """Say whether it follows `last` in the row that `first` begins."""
        return (
            self.left >= last.right - 1
            and abs(self.height - first.height) <= max(1, 0.3 * first.height)
            and abs(self.bottom - first.bottom) <= max(1, 0.15 * first.height)
            and abs(self.shade - first.shade) < 0.12
        )


class TextFinder:
    """Says which images have text in them; where that is unsure `tesseract` is asked, but not endlessly.

    It is asked of many at once, as it takes ten times as long to begin as to read a small picture.
    """

    def __init__(self) -> None:
        self._left = _MOST_ASKED if tesseract() else 0
        self._unsure: list[tuple[Hashable, Image.Image]] = []
        self._with_words: set[Hashable] = set()

    def look(self, name: Hashable, array: NDArray[np.floating]) -> bool:
        """Say whether an image (C, rows, columns) surely has text in it; volumes are not looked at.

        Args:
            name: By which `read` tells of it, if that is unsure; several images may have the same.
            array: The image.
        """
        if array.ndim != 3 or min(array.shape[1:]) < 64:
            return False
        picture = grey(array)
        if picture is None:
            return False
        small = _shrunk(picture)
        row = longest_row(small)
        if row >= LETTERS or row < _UNSURE or self._left <= 0:
            return row >= LETTERS
        self._left -= 1
        self._unsure.append((name, _for_tesseract(small)))
        if len(self._unsure) >= _AT_ONCE:
            self._ask()
        return False

    def read(self) -> set[Hashable]:
        """Return the names of images with words, since the last answer, of which `look` was unsure."""
        self._ask()
        found, self._with_words = self._with_words, set()
        return found

    def finds(self, arrays: Iterable[NDArray[np.floating]]) -> bool:
        """Say whether one of some images has text in it."""
        if any(self.look(number, array) for number, array in enumerate(arrays)):
            self._unsure.clear()  # nobody needs to know of these any more
            self._with_words.clear()
            return True
        return bool(self.read())

    def _ask(self) -> None:
        if self._unsure:
            names, pictures = zip(*self._unsure, strict=True)
            self._with_words |= {names[place] for place in _pages_with_words(pictures)}
            self._unsure.clear()


@cache
def tesseract() -> str | None:
    """Return the program's path; None where it isn't installed."""
    return shutil.which("tesseract")


def longest_row(picture: NDArray[np.float32]) -> int:
    """Return how many components in the form of letters stand in one row, bright or dark, at most.

    Args:
        picture: (rows, columns), from 0 to 1.
    """
    return max(_longest(_letters(shade)) for shade in (picture, 1 - picture))


def _shrunk(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    factor = LONGEST / max(picture.shape)
    if factor >= 1:
        return picture
    rows, columns = (max(1, round(length * factor)) for length in picture.shape)
    return np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BOX))


def _letters(shade: NDArray[np.float32]) -> list[_Letter]:
    """Return the thin bright components of a picture whose size and form are those of letters."""
    thin = shade - ndimage.grey_opening(shade, size=(_STROKE, _STROKE)) > _CONTRAST
    components, _ = ndimage.label(thin, np.ones((3, 3)))
    letters = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height not in _HEIGHTS or width > 1.6 * height:
            continue
        ink = components[rows, columns] == number
        if width > 2 and not 0.2 <= ink.mean() <= 0.85:  # an I or l is all ink
            continue
        brightness = float(np.median(shade[rows, columns][ink]))
        letters.append(_Letter(rows.start, rows.stop, columns.start, columns.stop, brightness))
    return sorted(letters, key=lambda letter: letter.left)


def _longest(letters: Sequence[_Letter]) -> int:
    longest = 0
    for index, first in enumerate(letters):
        last, count = first, 1
        for letter in letters[index + 1 :]:
            if letter.left - last.right > first.height:
                break
            if letter.continues(last, first):
                last, count = letter, count + 1
        longest = max(longest, count)
    return longest


def _for_tesseract(picture: NDArray[np.float32]) -> Image.Image:
    shown = Image.fromarray((picture * 255).astype(np.uint8))
    if max(shown.size) < _LEGIBLE:
        return shown.resize((2 * shown.width, 2 * shown.height), Image.Resampling.BICUBIC)
    return shown


def _pages_with_words(pictures: Sequence[Image.Image]) -> set[int]:
    """Return the places of pictures in which tesseract reads words; none if it fails or takes too long."""
    stream = BytesIO()
    pictures[0].save(stream, "TIFF", save_all=True, append_images=pictures[1:])
    command = [str(tesseract()), "stdin", "stdout", "--psm", "11", "tsv"]
    try:
        result = subprocess.run(  # noqa: S603 (no shell; the pictures go through a pipe)
            command,
            input=stream.getvalue(),
            capture_output=True,
            check=True,
            timeout=_TIMEOUT * len(pictures),
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except (OSError, subprocess.SubprocessError):
        return set()
    lines = (line.split("\t") for line in result.stdout.decode(errors="replace").splitlines()[1:])
    return {int(cells[_PAGE]) - 1 for cells in lines if len(cells) > 2 and _is_word(cells[-1], cells[-2])}


def _is_word(text: str, confidence: str) -> bool:
    letters = sum(character.isalnum() for character in text)
    return letters >= _LEAST_WORD and float(confidence) >= _SURE
