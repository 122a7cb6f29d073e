"""Maps of instances: each value is the number of one object, such as a cell; 0 is the background."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.data.formats.picture import Picture
from client.data.images.masks import is_map, label_map
from shared.errors import DataError

MOST = 2**16 - 1
"""Instances of one image, at most: their numbers are written with 16 bits."""


def instance_numbers(picture: Picture, path: Path) -> NDArray[np.int32]:
    """Return a map of instances (*S) with the numbers 1 to N, in the order of its values.

    Args:
        picture: One channel of labels.
        path: Its file, for the error.

    Raises:
        DataError: It has several channels, looks like an image, or has more than 65,535 instances.
    """
    values = label_map(picture, path)
    numbers, count = renumbered(values)
    if count and not is_map(numbers):
        raise DataError(
            f"holds {count} values, and neighbouring pixels seldom share one: it looks like an image",
            where=path,
            remedy="A map of instances has the number of one object in all pixels of it.",
        )
    if count > MOST:
        raise DataError(f"holds {count} instances; {MOST} can be", where=path)
    return numbers


def renumbered(values: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Return whole numbers (*S) from 0 as 1 to N, in their order, and N; 0 stays 0."""
    found, places = np.unique(values, return_inverse=True)
    first = int(found.size > 0 and found[0] != 0)  # there may be no background
    return (places.reshape(values.shape) + first).astype(np.int32), found.size - 1 + first


def pieces(numbers: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return of how many pieces each instance is (N,); pixels that touch by a corner are one piece."""
    whole = np.ones((3,) * numbers.ndim, bool)
    return np.array(
        [
            ndimage.label(numbers[box] == number, whole)[1]
            for number, box in enumerate(ndimage.find_objects(numbers), 1)
        ],
        np.int64,
    )
