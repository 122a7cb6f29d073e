"""What is taken away from a predicted map after the network: all but the largest part, and small parts."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from shared.tasks.segmentation.options import Segmentation


def cleaned(logits: Tensor, options: Segmentation) -> Tensor:
    """Return logits of which the largest is the background's wherever a part of a structure is removed.

    There the background's logit and the structure's change places, so that all that follows (labels, scores,
    metrics, pictures) sees the same map.

    Args:
        logits: (B, 1 + K, *S), the background first.
        options: Say what is removed.
    """
    found = logits.argmax(dim=1)
    removed = torch.from_numpy(np.stack([removed_from(own, options) for own in found.cpu().numpy()])).to(
        logits.device
    )
    if not removed.any():
        return logits
    result = logits.clone()
    largest = logits.max(dim=1).values
    result.scatter_(1, found[:, None], torch.where(removed, logits[:, 0], largest)[:, None])
    result[:, 0] = torch.where(removed, largest, result[:, 0])
    return result


def removed_from(labels: NDArray[np.int64], options: Segmentation) -> NDArray[np.bool_]:
    """Return which pixels of a map (*S) belong to a part that is removed."""
    removed = np.zeros(labels.shape, np.bool_)
    for index, name in enumerate(options.classes, start=1):
        least = options.least_size.get(name, 0)
        if name in options.keep_largest or least > 1:
            removed |= _small_parts(labels == index, only_largest=name in options.keep_largest, least=least)
    return removed


def _small_parts(mask: NDArray[np.bool_], *, only_largest: bool, least: int) -> NDArray[np.bool_]:
    """Return the parts that are not kept; parts touch along edges and corners."""
    parts, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = sizes >= max(least, 1)
    if only_largest and count:
        kept &= np.arange(count + 1) == sizes.argmax()
    gone: NDArray[np.bool_] = mask & ~kept[parts]
    return gone
