"""Which boxes are the same: their overlap, what of them is kept, and which of them were found."""

import torch
from torch import Tensor


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of boxes.

    Args:
        first: Lower and upper corners (..., N, 2 D).
        second: The same (..., M, 2 D).

    Returns:
        (..., N, M), in 0..1; 0 where both are empty.
    """
    axes = first.shape[-1] // 2
    one, other = first.unsqueeze(-2), second.unsqueeze(-3)
    low = torch.maximum(one[..., :axes], other[..., :axes])
    high = torch.minimum(one[..., axes:], other[..., axes:])
    shared = (high - low).clamp(min=0).prod(-1)
    volumes = [(boxes[..., axes:] - boxes[..., :axes]).clamp(min=0).prod(-1) for boxes in (one, other)]
    return shared / (volumes[0] + volumes[1] - shared).clamp(min=torch.finfo(first.dtype).tiny)


def suppress(boxes: Tensor, classes: Tensor, largest: float) -> Tensor:
    """Say which boxes are left once those that overlap a better one of their class are taken out.

    Args:
        boxes: Lower and upper corners (B, N, 2 D), the best first.
        classes: Of each box (B, N).
        largest: Intersection over union that two boxes may have.

    Returns:
        bool (B, N).
    """
    rival = (overlaps(boxes, boxes) > largest) & (classes.unsqueeze(1) == classes.unsqueeze(2))
    left = torch.ones_like(classes, dtype=torch.bool)
    for better in range(boxes.shape[1]):
        beaten = rival[:, better] & left[:, better, None]
        beaten[:, : better + 1] = False
        left &= ~beaten
    return left


def found(boxes: Tensor, truth: Tensor, least: float) -> Tensor:
    """Say which predicted boxes of one image and one class are right.

    In the order given, each takes the true box that it overlaps most of those that no better one has taken,
    as the COCO evaluation does (Lin et al., ECCV 2014).

    Args:
        boxes: Lower and upper corners (N, 2 D), the best first.
        truth: The true boxes (M, 2 D).
        least: Intersection over union from which on a box is found.

    Returns:
        bool (N,).
    """
    right = torch.zeros(len(boxes), dtype=torch.bool)
    if not len(boxes) or not len(truth):
        return right
    overlap = overlaps(boxes, truth)
    for number in (overlap >= least).any(dim=1).nonzero()[:, 0].tolist():
        best = int(overlap[number].argmax())
        if overlap[number, best] >= least:
            right[number] = True
            overlap[:, best] = -1.0
    return right
