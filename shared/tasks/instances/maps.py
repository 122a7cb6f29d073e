"""Instances as maps and maps as instances: foreground, and how deep in its object each pixel lies.

The depth is the distance from the object's edge, over the largest in the object (Schmidt et al., MICCAI 2018,
"Cell detection with star-convex polygons", take it for the probability of an object's centre). It falls to
nearly 0 where two objects touch, so its high places are cores, and a watershed grows them to the edges.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from shared.tasks.precision import full

_FOREGROUND = 0.5  # probability


def depth_of(numbers: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the depth of each pixel in its instance (*S): 1 in its middle, little at its edge, 0 outside.

    The edge of the image is none of an object that it cuts.
    """
    inside = numbers > 0
    if not inside.any():
        return np.zeros(numbers.shape, np.float32)
    inner = inside.copy()
    for axis in range(numbers.ndim):
        moved, own = np.moveaxis(numbers, axis, 0), np.moveaxis(inner, axis, 0)
        differs = moved[1:] != moved[:-1]
        own[1:] &= ~differs
        own[:-1] &= ~differs
    # without any edge (one object all over) the transform would have no end to measure from
    away = ndimage.distance_transform_edt(inner) if not inner.all() else np.ones(numbers.shape)
    distance = np.where(inside, away + 1, 0.0)
    present = np.unique(numbers[inside])
    largest = np.zeros(int(present[-1]) + 1)
    largest[present] = ndimage.maximum(distance, numbers, present)
    return np.divide(distance, largest[numbers], out=np.zeros(numbers.shape), where=inside).astype(np.float32)


def losses(maps: Tensor, numbers: Tensor, depth: Tensor | None) -> Tensor:
    """Return the loss of each image (B,).

    The sum of the foreground's cross-entropy and soft Dice, and of the depth's cross-entropy above what is
    left for the true depth itself; all are means over pixels.

    Args:
        maps: (B, 1 or 2, *S): logits of the foreground and of the depth.
        numbers: Of the true instances (B, *S).
        depth: `depth_of` them; None where it is not learnt.
    """
    maps = full(maps).flatten(2)
    total = loss_of_foreground(maps[:, 0], numbers)
    if depth is None:
        return total
    wanted = depth.to(maps).flatten(1)
    deep = functional.binary_cross_entropy_with_logits(maps[:, 1], wanted, reduction="none").mean(1)
    return total + deep - _entropy(wanted).mean(1)


def loss_of_foreground(logits: Tensor, numbers: Tensor) -> Tensor:
    """Return the cross-entropy and one less the soft Dice (B,) of logits (B, ...) and instances (B, ...)."""
    foreground, truth = logits.flatten(1), (numbers > 0).to(logits).flatten(1)
    entropy = functional.binary_cross_entropy_with_logits(foreground, truth, reduction="none").mean(1)
    found = foreground.sigmoid()
    dice = (2 * (found * truth).sum(1) + 1) / (found.sum(1) + truth.sum(1) + 1)
    return entropy + 1 - dice


def _entropy(shares: Tensor) -> Tensor:
    return torch.special.entr(shares) + torch.special.entr(1 - shares)


def instances_of(maps: Tensor, least_depth: float, least_size: int) -> Tensor:
    """Return the instances of maps (B, 1 or 2, *S), int32 (B, *S) on the CPU; see `_separate`."""
    logits = full(maps.detach()).sigmoid().cpu().numpy()
    return torch.from_numpy(
        np.stack([_separate(own[0], *own[1:], least=least_depth, size=least_size) for own in logits])
    )


def _separate(
    foreground: NDArray[np.float32], depth: NDArray[np.float32] | None = None, *, least: float, size: int
) -> NDArray[np.int32]:
    """Return the numbers of instances (*S): 1 to N, 0 for the background.

    Without a depth they are the connected pieces of the foreground. With it they grow out of cores.

    Args:
        foreground: Probability of each pixel (*S).
        depth: Of each pixel (*S).
        least: Depth of a core.
        size: Pixels of the smallest instance.
    """
    inside = foreground > _FOREGROUND
    if depth is None:
        return _numbered(ndimage.label(inside)[0], size)
    return grown(inside, ndimage.label(inside & (depth > least))[0], -depth, size)


def grown(
    inside: NDArray[np.bool_], cores: NDArray[np.integer], levels: NDArray[np.floating], size: int
) -> NDArray[np.int32]:
    """Return the numbers of instances (*S) that grow out of cores, by a watershed (Beucher and Meyer 1993).

    A piece of the foreground without a core is one instance.

    Args:
        inside: The foreground (*S).
        cores: Their numbers (*S), 0 elsewhere.
        levels: Low in the middle of an object, high where two touch (*S).
        size: Pixels of the smallest instance.
    """
    parts, count = ndimage.label(inside)
    if not count:
        return np.zeros(inside.shape, np.int32)
    lacking = np.ones(count + 1, bool)
    lacking[parts[cores > 0]] = False
    alone = lacking[parts] & inside
    cores[alone] = cores.max() + parts[alone]
    flood = np.where(inside, levels, levels.max() + 1)  # the background lies above all objects
    return _numbered(np.where(inside, _flooded(flood, cores), 0), size)


def _numbered(parts: NDArray[np.integer], size: int) -> NDArray[np.int32]:
    """Return parts (*S) of at least so many pixels, numbered from 1 without a gap."""
    counts = np.bincount(parts.ravel())
    kept = counts >= size
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[parts].astype(np.int32)


def _flooded(levels: NDArray[np.floating], cores: NDArray[np.integer]) -> NDArray[np.int32]:
    import SimpleITK as itk  # noqa: N813, PLC0415 (only evaluation needs it)

    flood = itk.MorphologicalWatershedFromMarkers(
        itk.GetImageFromArray(levels.astype(np.float32)),
        itk.GetImageFromArray(cores.astype(np.uint32)),
        markWatershedLine=False,
    )
    grown: NDArray[np.int32] = itk.GetArrayFromImage(flood).astype(np.int32)
    return grown
