"""A second network looks at what the first has found: false-positive reduction.

As in the detection of lung nodules (Setio et al., Medical Image Analysis 42, 2017) the first network proposes
boxes, the second sees what is around each, cut out and brought to one size, and says whether it is an object.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.tasks.detection.maps import Detections
from shared.tasks.detection.overlap import overlaps
from shared.tasks.precision import full

_CONTEXT = 2.0  # lengths of a box that are cut out along each axis
_LEAST = 4.0  # pixels that are cut out along each axis, at least
_RIGHT = 0.3  # intersection over union from which a candidate is an object


def cut_out(images: Tensor, boxes: Tensor, pixels: int) -> Tensor:
    """Return the surroundings of boxes, each brought to one size, linear between pixels.

    Args:
        images: (B, C, *S); beyond the edge its border goes on.
        boxes: Lower and upper corners (B, M, 2 D), in pixels from the edge.
        pixels: P, along each axis.

    Returns:
        (B, M, C, P, ...).
    """
    axes = images.dim() - 2
    size = torch.tensor(images.shape[2:]).to(boxes)
    centre = (boxes[..., :axes] + boxes[..., axes:]) / 2
    half = ((boxes[..., axes:] - boxes[..., :axes]) * _CONTEXT).clamp(min=_LEAST) / 2
    line = (torch.arange(pixels).to(boxes) + 0.5) / pixels * 2 - 1
    grid = torch.stack(torch.meshgrid(*[line] * axes, indexing="ij"), dim=-1)  # (P, ..., D)
    shape = (*boxes.shape[:2], *[1] * axes, axes)
    places = centre.view(shape) + half.view(shape) * grid  # (B, M, P, ..., D)
    seen = functional.grid_sample(
        full(images),
        (2 * places / size - 1).flip(-1).flatten(1, 2),
        padding_mode="border",
        align_corners=False,
    )
    return seen.unflatten(2, (boxes.shape[1], pixels)).movedim(2, 1)


def judged(model: nn.Module, images: Tensor, boxes: Tensor, classes: Tensor, pixels: int) -> Tensor:
    """Return the logit (B, M) that a network gives each box for the class that it is said to be of."""
    crops = cut_out(images, boxes, pixels)
    logits: Tensor = full(model(crops.flatten(0, 1))).unflatten(0, crops.shape[:2])
    return logits.gather(2, classes[..., None])[..., 0]


def reconsidered(found: Detections, logits: Tensor) -> Detections:
    """Return boxes whose scores are the mean of both networks' logits, the best first."""
    scores, order = ((found.scores + logits.to(found.scores)) / 2).sort(dim=1, descending=True, stable=True)
    boxes = found.boxes.gather(1, order[..., None].expand_as(found.boxes))
    return Detections(boxes, scores, found.classes.gather(1, order))


def losses(model: nn.Module, images: Tensor, found: Detections, truth: list[Tensor], pixels: int) -> Tensor:
    """Return the loss of each image (B,): the cross-entropy of its candidates, and of its true boxes.

    Right and wrong candidates count the same, however many there are; of an image without any it is 0.

    Args:
        model: Of the second network.
        images: (B, C, *S).
        found: By the first network; nothing is learnt of how.
        truth: True boxes of each image (N, 2 D + 1), the last column the class.
        pixels: Of what is cut out, along each axis.
    """
    together = [own.to(found.boxes) for own in truth]
    most = max(len(own) for own in together)
    padded = torch.stack([functional.pad(own, (0, 0, 0, most - len(own))) for own in together])
    there = torch.arange(most, device=padded.device) < torch.tensor(
        [[len(own)] for own in together], device=padded.device
    )
    boxes, kinds = padded[..., :-1], padded[..., -1].long()
    if most:
        same = (found.classes[..., None] == kinds[:, None]) & there[:, None]
        right = ((overlaps(found.boxes, boxes) >= _RIGHT) & same).any(dim=2)
    else:
        right = torch.zeros_like(found.classes, dtype=torch.bool)
    right = torch.cat([right, torch.ones_like(there)], dim=1)
    counts = torch.cat([found.scores.isfinite(), there], dim=1)
    logits = judged(
        model, images, torch.cat([found.boxes, boxes], dim=1), torch.cat([found.classes, kinds], 1), pixels
    )
    single = functional.binary_cross_entropy_with_logits(logits, right.to(logits), reduction="none")
    means = []
    for chosen in (counts & right, counts & ~right):
        means.append((single * chosen).sum(1) / chosen.sum(1).clamp(min=1))
    return (means[0] + means[1]) / 2
