"""An image with a map of reasons over it, in colour."""

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's vermilion and blue: told apart by everybody, and dark and light in black-and-white print.
_FOR, _AGAINST = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)
_SHADE = 0.75  # of the colour, where a map is strongest
_FULL = 0.99  # share of the pixels whose strength is below what has all of the colour: few are far stronger
_STRONGEST = 0.95  # share of the pixels that lie below what is outlined


def overlaid(
    image: NDArray[np.float32], reasons: NDArray[np.float32], ends: tuple[float, float]
) -> NDArray[np.float32]:
    """Return a grey image (3, *S) in 0..1, orange where the map is above zero, blue where it is below.

    Args:
        image: (C, *S); of three channels their mean is shown, otherwise the first.
        reasons: (*S).
        ends: The values of the image that are black and white.
    """
    low, high = ends
    chosen = image.mean(axis=0) if len(image) == 3 else image[0]
    grey = np.clip((chosen - low) / max(high - low, 1e-6), 0, 1)
    shown = np.repeat(grey[None], 3, axis=0)
    sizes = np.abs(reasons)
    full = float(np.quantile(sizes, _FULL)) or float(sizes.max()) or 1.0
    strength = np.clip(reasons / full, -1, 1)
    for colour, share in ((_FOR, strength.clip(min=0)), (_AGAINST, (-strength).clip(min=0))):
        target = np.array(colour, np.float32).reshape(3, *[1] * reasons.ndim) / 255
        shown = shown + _SHADE * share * (target - shown)
    return shown.astype(np.float32)


def strongest(reasons: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return where a map (*S) is strongest: 1 at about a twentieth of the pixels, if they are above zero."""
    least = max(float(np.quantile(reasons, _STRONGEST)), 0.0)
    return (reasons > least).astype(np.uint8)
