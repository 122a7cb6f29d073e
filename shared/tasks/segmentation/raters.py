"""Several masks of one image, by several raters: what they agree on, and how far a map agrees with each."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch
from shared.tasks.fields import UNKNOWN_PIXEL
from shared.tasks.unlabelled.agreement import are_known

Masks = NDArray[np.uint8]

FIRST = "first rater"
"""Name of the first rater's mask, where what all agree on stands in its place."""
_SURE = 0.5


def given(batch: Batch, names: Sequence[str]) -> list[Tensor]:
    """Return the masks (B, *S) of those raters of whom the samples have any."""
    return [batch[name] for name in names if name in batch]


def agreed(masks: Sequence[Tensor], how: str, classes: int) -> Tensor:
    """Return one mask of each sample (B, *S), of the raters who have seen it.

    Args:
        masks: Of each rater (B, *S) uint8; those of samples that a rater has not seen are unknown.
        how: 'staple', or 'majority': the class of most raters, of a tie that of the first among them.
        classes: The structures and the background.
    """
    known = torch.stack([are_known(mask) for mask in masks])
    stacked = torch.stack(list(masks))
    found = [
        _agreed(stacked[:, number][known[:, number]], how, classes) if known[:, number].any() else mask
        for number, mask in enumerate(masks[0])
    ]
    return torch.stack(found)


def _agreed(masks: Tensor, how: str, classes: int) -> Tensor:
    """Return one mask (*S) of R masks (R, *S)."""
    if len(masks) == 1 or bool((masks == masks[0]).all()):
        return masks[0]
    if how == "staple":
        return torch.from_numpy(staple(masks.numpy(), classes))
    votes = torch.stack([(masks == index).sum(dim=0) for index in range(classes)])
    most = votes.max(dim=0).values
    chosen = masks[-1]
    for mask in masks.flip(0):  # the first of those with most votes is written last
        chosen = torch.where(votes.gather(0, mask.long()[None])[0] == most, mask, chosen)
    return chosen


def staple(masks: Masks, classes: int) -> Masks:
    """Return the likeliest true mask (*S) of R masks (R, *S), each rater's errors estimated beside it.

    Warfield et al. 2004, "Simultaneous truth and performance level estimation (STAPLE)", as SimpleITK has it,
    for each structure by itself; a pixel that is likely of several is of the likeliest.
    """
    import SimpleITK as sitk  # noqa: N813, PLC0415 (takes a while to load, and few need it)

    found = np.zeros(masks.shape[1:], np.uint8)
    best = np.full(masks.shape[1:], _SURE)
    for index in range(1, classes):
        own = (masks == index).astype(np.uint8)
        if not own.any():
            continue
        shares = own[0].astype(np.float64)
        if not (own == own[0]).all():
            images = [sitk.GetImageFromArray(one) for one in own]
            shares = sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0))
        likelier = shares > best
        found[likelier], best = index, np.where(likelier, shares, best)
    return found


def pairs_of(raters: int) -> list[tuple[int, int]]:
    """Return the pairs of raters, in their order."""
    return list(combinations(range(raters), 2))


def counted_pairs(masks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for each pair of raters both masks, and which samples both have seen (B,)."""
    for one, other in pairs_of(len(masks)):
        yield masks[one], masks[other], are_known(masks[one]) & are_known(masks[other])


def without_unknown(mask: Tensor) -> Tensor:
    """Return a mask with background in place of what is unknown."""
    return torch.where(mask == UNKNOWN_PIXEL, torch.zeros_like(mask), mask)
