"""Arrays of another size: smoothed where they shrink, and padded where their proportions stay."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate


def resize_image(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize (C, *S) with linear interpolation, smoothed first along axes that shrink."""
    if image.shape[1:] == shape:
        return image
    if len(shape) == 2:
        return interpolate(torch.from_numpy(image)[None], shape, mode="bilinear", antialias=True)[0].numpy()
    # PyTorch has no antialias in 3D: a Gaussian of the width that scikit-image and MONAI use
    sigma = [max(0.0, (before / after - 1) / 2) for before, after in zip(image.shape[1:], shape, strict=True)]
    smooth = gaussian_filter(image, (0, *sigma)) if any(sigma) else image
    return interpolate(torch.from_numpy(smooth)[None], shape, mode="trilinear")[0].numpy()


def resize_mask(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resize (*S) by taking the nearest value."""
    if mask.shape == shape:
        return mask
    return interpolate(torch.from_numpy(mask)[None, None], shape, mode="nearest-exact")[0, 0].numpy()


def resize_numbers(numbers: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Resize (*S) by taking the nearest of whole numbers up to 2^24."""
    if numbers.shape == shape:
        return numbers
    exact = torch.from_numpy(numbers).float()[None, None]  # PyTorch resizes no integers of 32 bits
    return interpolate(exact, shape, mode="nearest-exact")[0, 0].int().numpy()


def highest(scores: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return which class's score is the highest (*shape), of scores (K, *S) resized linearly.

    One class at a time: all of them at a large volume's size would need much memory.
    """
    best = np.full(shape, -np.inf, np.float32)
    found = np.zeros(shape, np.uint8)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    for index, channel in enumerate(np.ascontiguousarray(scores)):
        own = channel
        if channel.shape != shape:
            own = interpolate(torch.from_numpy(channel)[None, None], shape, mode=mode)[0, 0].numpy()
        higher = own > best
        found[higher], best = index, np.maximum(own, best)
    return found


def padded(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array (C, *S) in the middle of a larger one, each channel's lowest value around it."""
    missing = [after - before for before, after in zip(array.shape[1:], shape, strict=True)]
    if not any(missing):
        return array
    widths = [(gap // 2, gap - gap // 2) for gap in missing]
    return np.stack([np.pad(channel, widths, constant_values=channel.min()) for channel in array])
