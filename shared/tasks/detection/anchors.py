"""Boxes by anchors (Lin et al., "Focal loss for dense object detection", ICCV 2017).

A network gives K + 2 D numbers for each anchor: a logit of each class; how far the object's centre is from
the anchor's, in sizes of the anchor; and the logarithm of the object's size over the anchor's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from shared.tasks.detection.maps import Detections
from shared.tasks.detection.overlap import overlaps, suppress
from shared.tasks.precision import full

_IS, _IS_NOT = 0.5, 0.4  # overlap from which an anchor is of an object, and below which it is of none
_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss
_LEAST_SIZE = 2.0**-6  # pixels: a box that the image's edge cuts to nothing has a logarithm all the same
_CANDIDATES = 4  # boxes that are looked at for each that may be told
_LARGEST_LOG = 4.0  # of a size over an anchor's: what is above can't be meant


def corners(places: Tensor) -> Tensor:
    """Return the lower and upper corners (..., 2 D) of boxes given by centre and size."""
    centre, size = places.tensor_split(2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def matched(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the box of each anchor (A,): its number, -1 for none, -2 where the anchor is left out.

    An anchor is of the box that it overlaps most, from an intersection over union of 0.5 on; each box also
    has the anchor that overlaps it most. Between 0.4 and 0.5 it is left out.

    Args:
        anchors: Centre and size (A, 2 D).
        boxes: Lower and upper corners (N, 2 D).
    """
    if not len(boxes):
        return torch.full((len(anchors),), -1, device=anchors.device)
    overlap = overlaps(corners(anchors), boxes)
    most, which = overlap.max(dim=1)
    found = torch.where(most >= _IS, which, torch.where(most < _IS_NOT, -1, -2))
    found[overlap.argmax(dim=0)] = torch.arange(len(boxes), device=anchors.device)
    return found


def anchor_losses(found: Tensor, boxes: Sequence[Tensor], anchors: Tensor, classes: int) -> Tensor:
    """Return the loss of each image (B,), over its number of anchors that are of an object, at least 1.

    The sum of the focal loss of all anchors and of the smooth L1 distances of centre and size.

    Args:
        found: (B, A, K + 2 D).
        boxes: Of each image (N, 2 D + 1): lower corner, upper corner, class.
        anchors: Centre and size (A, 2 D).
        classes: K.
    """
    found, anchors = full(found), anchors.to(found.device)
    pairs = zip(found, (own.to(found) for own in boxes), strict=True)
    return torch.stack([_loss(own, true, anchors.to(own), classes) for own, true in pairs])


def _loss(found: Tensor, boxes: Tensor, anchors: Tensor, classes: int) -> Tensor:
    which = matched(anchors, boxes[:, :-1])
    is_object = which >= 0
    of_object = which[is_object]
    truth = torch.zeros_like(found[:, :classes])
    truth[is_object, boxes[of_object, -1].long()] = 1
    logits = found[:, :classes]
    share = logits.sigmoid()
    right = share * truth + (1 - share) * (1 - truth)
    weight = (_ALPHA * truth + (1 - _ALPHA) * (1 - truth)) * (1 - right) ** _GAMMA
    focal = weight * functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    low, high = boxes[of_object, :-1].tensor_split(2, dim=1)
    middle, size = anchors[is_object].tensor_split(2, dim=1)
    wanted = torch.cat(
        [((low + high) / 2 - middle) / size, ((high - low).clamp(min=_LEAST_SIZE) / size).log()], 1
    )
    apart = functional.smooth_l1_loss(found[is_object, classes:], wanted, reduction="sum", beta=1 / 9)
    return (focal[which > -2].sum() + apart) / max(1, int(is_object.sum()))


def decode_anchors(
    found: Tensor, anchors: Tensor, size: Sequence[int], classes: int, *, most: int, largest_overlap: float
) -> Detections:
    """Return the boxes of what anchors give; the arguments are those of `anchor_losses` and `maps.decode`."""
    found, axes = full(found), len(size)
    scores, index = found[:, :, :classes].flatten(1).topk(min(_CANDIDATES * most, found.shape[1]), dim=1)
    place, kinds = index // classes, index % classes
    ends = found[:, :, classes:].gather(1, place[..., None].expand(-1, -1, 2 * axes))
    middle, side = anchors.to(found)[place].tensor_split(2, dim=-1)
    centre = middle + ends[..., :axes] * side
    half = side * ends[..., axes:].clamp(max=_LARGEST_LOG).exp() / 2
    edge = centre.new_tensor(size)
    boxes = torch.cat([(centre + sign * half).clamp(min=0).minimum(edge) for sign in (-1, 1)], dim=-1)
    left = suppress(boxes, kinds, largest_overlap)
    kept = scores.masked_fill(~left, -torch.inf)
    best, order = kept.topk(min(most, kept.shape[1]), dim=1)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 2 * axes))
    return Detections(boxes, best, kinds.gather(1, order))
