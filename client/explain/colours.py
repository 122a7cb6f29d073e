"""An image with a map of reasons over it, in colour."""

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's vermilion and blue: told apart by everybody, and dark and light in black-and-white print.
_FOR, _AGAINST = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)
_SHADE = 0.75  # of the colour, where a map is strongest
_STRONGEST = 0.95  # share of the pixels that lie below what is outlined


def overlaid(
    image: NDArray[np.float32], reasons: NDArray[np.float32], ends: tuple[float, float]
) -> NDArray[np.float32]:
    """Return an image (3, *S) in 0..1, orange where the map is above zero, blue where it is below.

    Args:
        image: (C, *S); of other than three channels the first is grey.
        reasons: (*S).
        ends: The values of the image that are black and white.
    """
    low, high = ends
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    shown = grey if len(grey) == 3 else np.repeat(grey[:1], 3, axis=0)
    strength = np.clip(reasons / max(float(np.abs(reasons).max()), 1e-12), -1, 1)
    for colour, share in ((_FOR, strength.clip(min=0)), (_AGAINST, (-strength).clip(min=0))):
        target = np.array(colour, np.float32).reshape(3, *[1] * reasons.ndim) / 255
        shown = shown + _SHADE * share * (target - shown)
    return shown.astype(np.float32)


def strongest(reasons: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return where a map (*S) is strongest: 1 at about a twentieth of the pixels, if they are above zero."""
    least = max(float(np.quantile(reasons, _STRONGEST)), 0.0)
    return (reasons > least).astype(np.uint8)
