"""What an image looks like, in 1,024 numbers: copies are found although they were saved anew.

A perceptual hash of bits takes aligned images of one kind (fundi, heads, radiographs) for copies long before
it finds a JPEG of middling quality. The fingerprint keeps real numbers: the fine structure of a 32 x 32
thumbnail, each place by its own contrast, so that the outline which all images of a kind share counts little.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from client.data.images.grey_picture import grey

SIDE = 32
ALIKE = 0.93  # correlation; what it finds and misses on real images is in docs/data.md
_BLOCK = 2048  # images whose correlations with all others are in memory at once

Fingerprint = NDArray[np.float32]


def fingerprint(array: NDArray[np.floating]) -> Fingerprint | None:
    """Return what an image looks like; None where there is nothing in it.

    Args:
        array: (C, rows, columns) or (C, x, y, z); of a volume the middle slice counts.

    Returns:
        (1024,), of mean 0 and norm 1.
    """
    picture = grey(array)
    if picture is None:
        return None
    small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX)
    thumbnail = np.asarray(small, dtype=np.float32)
    fine = thumbnail - gaussian_filter(thumbnail, 1)
    contrast = np.sqrt(gaussian_filter(fine**2, 2)) + 0.25 * fine.std() + 1e-6
    shown = (fine / contrast).ravel()
    shown -= shown.mean()
    return shown / max(float(np.linalg.norm(shown)), 1e-6)


def near_pairs(prints: Sequence[Fingerprint | None]) -> list[tuple[int, int]]:
    """Return the pairs of indices of images that look alike, in order; all pairs are compared."""
    known = [index for index, one in enumerate(prints) if one is not None]
    if len(known) < 2:
        return []
    rows = np.stack([one for one in prints if one is not None])
    found = []
    for start in range(0, len(rows), _BLOCK):
        alike = rows[start : start + _BLOCK] @ rows[start:].T >= ALIKE
        ones, others = np.nonzero(np.triu(alike, 1))
        found += [(known[start + one], known[start + other]) for one, other in zip(ones, others, strict=True)]
    return sorted(found)
