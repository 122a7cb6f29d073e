"""What an image looks like, in a few bytes: nearly equal images are found without comparing all pairs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
NEAR = 12  # of the 256 bits: how many may differ between copies that were saved anew, scaled or shaded
ALIKE = 0.96  # correlation of what they show, small: two heads have the same outline and less in common
_PIECES = NEAR + 1  # cut into so many pieces, near fingerprints share one whole
_CROWD = 50  # images that share a piece, and so say nothing by it: plain ones
_THUMB = 32


@dataclass(frozen=True)
class Fingerprint:
    """What an image looks like.

    Attributes:
        bits: Whether each of 16 x 16 cells is brighter than its left neighbour, as 256 bits (dHash).
        small: The image in 32 x 32 pixels, of mean 0 and norm 1, (1024,).
    """

    bits: int
    small: NDArray[np.float32]


def fingerprint(array: NDArray[np.floating]) -> Fingerprint | None:
    """Return what an image looks like; None where there is nothing in it.

    Args:
        array: (C, rows, columns) or (C, x, y, z); of a volume the middle slice counts, of channels the first
            that is not of a single value.
    """
    picture = next((channel for channel in array if channel.min() != channel.max()), array[0])
    if picture.ndim == 3:
        picture = picture[..., picture.shape[-1] // 2]
    low, high = float(picture.min()), float(picture.max())
    if low == high:
        return None
    grey = Image.fromarray(((picture - low) * (255 / (high - low))).astype(np.uint8))
    cells = np.asarray(grey.resize((SIDE + 1, SIDE), Image.Resampling.BOX), dtype=np.int16)
    small = np.asarray(grey.resize((_THUMB, _THUMB), Image.Resampling.BOX), dtype=np.float32).ravel()
    small = small - small.mean()
    bits = np.packbits(cells[:, 1:] > cells[:, :-1] + 1).tobytes()
    return Fingerprint(int.from_bytes(bits, "big"), small / max(float(np.linalg.norm(small)), 1e-9))


def near_pairs(prints: Sequence[Fingerprint | None]) -> list[tuple[int, int]]:
    """Return the pairs of indices of images that look alike, in order."""
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, one in enumerate(prints):
        if one is not None:
            for place, piece in enumerate(_pieces(one.bits)):
                buckets[place, piece].append(index)
    found = set()
    for members in buckets.values():
        if len(members) <= _CROWD:
            found |= {pair for pair in combinations(members, 2) if _alike(prints[pair[0]], prints[pair[1]])}
    return sorted(found)


def _alike(one: Fingerprint | None, other: Fingerprint | None) -> bool:
    if one is None or other is None or (one.bits ^ other.bits).bit_count() > NEAR:
        return False
    return bool(one.small @ other.small >= ALIKE)


def _pieces(value: int) -> Iterator[int]:
    bits = SIDE * SIDE // _PIECES
    for place in range(_PIECES):
        yield (value >> (place * bits)) & (2**bits - 1)


def has_burned_in_text(array: NDArray[np.floating]) -> bool:
    """Say if the border of a picture looks as if text was written into it.

    Letters are not like anatomy: dark and bright with next to nothing between, in rows, one below the other,
    that jump between the two several times. A guess, to look at the picture; volumes are not looked at.
    """
    picture = array[0]
    if picture.ndim != 2 or min(picture.shape) < 64:
        return False
    low, high = float(picture.min()), float(picture.max())
    shade = (picture - low) / max(high - low, 1e-9)
    margin = max(12, picture.shape[0] // 6)
    return any(_has_letters(strip) for strip in (shade[:margin], shade[-margin:]))


def _has_letters(shade: NDArray[np.floating]) -> bool:
    if ((shade > 0.3) & (shade < 0.8)).mean() > 0.04:
        return False
    bright = shade > 0.9
    jumps = (bright[:, 1:] & ~bright[:, :-1]).sum(axis=1)
    written = (jumps >= 4) & (bright.mean(axis=1) < 0.3)
    run = longest = 0
    for row in written:
        run = run + 1 if row else 0
        longest = max(longest, run)
    return longest >= 5
