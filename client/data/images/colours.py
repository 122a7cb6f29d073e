"""Grey and colour: the channels that a job wants of an image."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError


def coloured(array: NDArray[np.float32], colour: Literal["rgb", "grey"], path: Path) -> NDArray[np.float32]:
    """Return an image (C, *S) with three channels, or with one.

    Raises:
        DataError: It is neither grey nor in colour.
    """
    if len(array) not in (1, 3):
        raise DataError(
            f"has {len(array)} channels, and only grey and colour images (1 or 3) become '{colour}'",
            where=path,
            remedy="Leave [data] colour out.",
        )
    if colour == "rgb":
        return array if len(array) == 3 else np.repeat(array, 3, axis=0)
    if len(array) == 1 or _is_grey(array):
        return array[:1]
    luminance = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), array, axes=1)  # ITU-R BT.601
    return luminance[None].astype(np.float32)


def channels_remedy(found: int, wanted: int, colour: str | None) -> str:
    """Return what helps where a job wants another number of channels."""
    remedy = f"Set [data] channels = {found}, or convert the image."
    if colour is None and {found, wanted} == {1, 3}:
        kind = "grey" if wanted == 1 else "rgb"
        return f"Set [data] colour = '{kind}' where grey and colour images are mixed. {remedy}"
    return remedy


def as_grey(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image (C, *S) with one channel where its three are the same."""
    return array[:1] if len(array) == 3 and _is_grey(array) else array


def _is_grey(colours: NDArray[np.float32]) -> bool:
    return bool((colours[0] == colours[1]).all() and (colours[0] == colours[2]).all())
