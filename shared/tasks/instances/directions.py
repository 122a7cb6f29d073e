"""Instances by where each pixel lies in its own: HoVer-Net (Graham et al., Medical Image Analysis 58, 2019).

A map for each axis goes from -1 at one end of an object to 1 at the other. Where two objects touch it falls
from 1 to -1: there is the seam between them. In pictures these are the paper's vertical and horizontal maps.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from shared.tasks.instances.maps import grown, loss_of_foreground
from shared.tasks.precision import full

_WIDTH = 1.0  # pixels: deviation of the Gaussian that smooths the maps before their slope is taken
_WHOLE = 2 / (math.sqrt(2 * math.pi) * _WIDTH)  # slope of a map that falls from 1 to -1, so smoothed


def directions_of(numbers: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return along each axis where a pixel lies in its instance (D, *S), 0 at its middle and outside."""
    inside = numbers > 0
    found = np.zeros((numbers.ndim, *numbers.shape), np.float32)
    if not inside.any():
        return found
    present, order = np.unique(numbers[inside], return_inverse=True)
    for axis, places in enumerate(np.nonzero(inside)):
        away = places - ndimage.mean(places, order, np.arange(len(present)))[order]
        for side in (-1, 1):
            reach = ndimage.maximum(side * away, order, np.arange(len(present)))
            own = side * away > 0
            away[own] /= np.asarray(reach)[order][own]
        found[axis][inside] = away
    return found


def losses(maps: Tensor, numbers: Tensor, directions: Tensor) -> Tensor:
    """Return the loss of each image (B,).

    The foreground's cross-entropy and soft Dice, the mean squared error of the directions (the paper's
    equation 2), and within the foreground that of their slopes along their own axes (equation 3).

    Args:
        maps: (B, 1 + D, *S): logits of the foreground, and what a hyperbolic tangent makes directions of.
        numbers: Of the true instances (B, *S).
        directions: `directions_of` them (B, D, *S).
    """
    maps = full(maps)
    wrong, inside = maps[:, 1:].tanh() - directions, (numbers > 0).to(maps)
    total = loss_of_foreground(maps[:, 0], numbers) + wrong.square().flatten(1).mean(1)
    axes = numbers.dim() - 1
    for axis in range(1, 1 + axes):
        length = numbers.shape[axis] - 1
        both = inside.narrow(axis, 1, length) * inside.narrow(axis, 0, length)
        slopes = wrong[:, axis - 1].diff(dim=axis).square() * both
        total = total + slopes.flatten(1).sum(1) / (both.flatten(1).sum(1) + 1) / axes
    return total


def instances_by_directions(maps: Tensor, seam: float, least_size: int) -> Tensor:
    """Return the instances of maps (B, 1 + D, *S), int32 (B, *S) on the CPU.

    Args:
        maps: As for `losses`.
        seam: Fall from which a pixel is a seam between objects, 1 from one's end to the other's beginning.
        least_size: Pixels of the smallest instance, and of the smallest core.
    """
    found = full(maps.detach()).cpu().numpy()
    return torch.from_numpy(
        np.stack([_separate(own[0], np.tanh(own[1:]), seam, least_size) for own in found])
    )


def _separate(
    foreground: NDArray[np.float32], directions: NDArray[np.float32], seam: float, size: int
) -> NDArray[np.int32]:
    """Return the numbers of instances (*S): without the seams cores are left, which grow into them."""
    inside = foreground > 0
    fall = np.zeros(inside.shape)
    for axis, own in enumerate(directions):
        orders = [int(axis == other) for other in range(own.ndim)]
        fall = np.maximum(fall, -ndimage.gaussian_filter(own, _WIDTH, order=orders) / _WHOLE)
    cores, _ = ndimage.label(inside & (fall < seam))
    large = np.bincount(cores.ravel()) >= size
    return grown(inside, cores * large[cores], fall, size)
