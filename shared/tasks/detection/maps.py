"""Boxes as maps and maps as boxes: objects are points (Zhou, Wang, Krähenbühl, arXiv 1904.07850, 2019).

A network gives K + 2 D numbers for each cell of a map: a logit of each class, which peaks at the centres of
its objects; where in the cell the centre is; and the object's size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from shared.tasks.detection.overlap import suppress
from shared.tasks.precision import full

PRIOR = math.log(0.01 / 0.99)
"""Added to the logits, so that an untrained network expects an object in one cell of a hundred: without it
the empty cells swamp the first steps (Lin et al., ICCV 2017, section 4.1)."""

SPREAD = 0.09  # standard deviation of a peak, as a share of the box (0.54 / 6: Liu et al., AAAI 2020)
LEAST_SPREAD = 0.5  # cells
_LEAST_SIZE = 2.0**-6  # cells: a box that the image's edge cuts to nothing has a logarithm all the same
_FOCUS, _FORGIVEN = 2, 4  # exponents of the focal loss: alpha and beta of the paper


@dataclass(frozen=True)
class Targets:
    """What a map should be.

    Attributes:
        heat: (B, K, *S): 1 at the cell of each centre, falling off around it.
        image: Number of each box's image (N,).
        cells: Of each centre (N, D).
        offsets: From the cell's edge to the centre (N, D), in 0..1.
        sizes: Of each box (N, D), in cells.
    """

    heat: Tensor
    image: Tensor
    cells: Tensor
    offsets: Tensor
    sizes: Tensor


@dataclass(frozen=True)
class Detections:
    """The boxes found in images, the best first.

    Attributes:
        boxes: Lower and upper corners (B, M, 2 D), in pixels from the edge.
        scores: Logits (B, M); minus infinity where there is no box.
        classes: int64 (B, M).
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def encode(boxes: Sequence[Tensor], shape: Sequence[int], classes: int, stride: int) -> Targets:
    """Return the map of true boxes.

    Args:
        boxes: Of each image (N, 2 D + 1): lower corner, upper corner, class.
        shape: Of the map.
        classes: Of the job.
        stride: Pixels of a cell along each axis.
    """
    image = torch.cat([torch.full((len(own),), number) for number, own in enumerate(boxes)])
    together, axes = torch.cat(list(boxes)), len(shape)
    image = image.to(together.device)
    low, high = together[:, :axes] / stride, together[:, axes : 2 * axes] / stride
    centre, size = (low + high) / 2, (high - low).clamp(min=_LEAST_SIZE)
    cells = centre.floor().clamp(min=0).minimum(centre.new_tensor(shape) - 1)
    rows = image * classes + together[:, -1].long()
    peaks = _peaks(cells, size, shape)
    heat = peaks.new_zeros(len(boxes) * classes, *shape)
    heat.scatter_reduce_(0, rows.reshape(-1, *[1] * axes).expand_as(peaks), peaks, "amax")
    return Targets(heat.reshape(len(boxes), classes, *shape), image, cells.long(), centre - cells, size)


def _peaks(cells: Tensor, size: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a Gaussian of height 1 around each centre, (N, *S), as wide as its box along each axis."""
    spread = (SPREAD * size).clamp(min=LEAST_SPREAD)
    peaks = cells.new_ones(len(cells), *[1] * len(shape))
    for axis, length in enumerate(shape):
        away = torch.arange(length, device=cells.device) - cells[:, axis, None]
        along = torch.exp(-(away**2) / (2 * spread[:, axis, None] ** 2))
        view = [len(cells), *[1] * len(shape)]
        view[axis + 1] = length
        peaks = peaks * along.reshape(view)
    return peaks


def losses(maps: Tensor, boxes: Sequence[Tensor], classes: int, stride: int) -> Tensor:
    """Return the loss of each image (B,), over its number of boxes, at least 1.

    The sum of the penalty-reduced focal loss of all cells, and of the L1 distances of the offset and of the
    size's logarithm at the centres. (The paper takes the size itself, at a tenth: large ones would outweigh.)

    Args:
        maps: (B, K + 2 D, *S).
        boxes: See `encode`.
        classes: K.
        stride: Pixels of a cell.
    """
    shape, maps = maps.shape[2:], full(maps)
    targets = encode([own.to(maps) for own in boxes], shape, classes, stride)
    logits = maps[:, :classes] + PRIOR
    focal = _focal(logits, targets.heat).flatten(1).sum(dim=1)
    at_centres = maps.movedim(1, -1)[targets.image, *targets.cells.unbind(1)][:, classes:]
    wanted = torch.cat([targets.offsets, targets.sizes.log()], dim=1)
    apart = (at_centres - wanted).abs().sum(dim=1)
    count = torch.tensor([max(1, len(own)) for own in boxes], device=maps.device)
    return focal.index_add(0, targets.image, apart) / count


def _focal(logits: Tensor, heat: Tensor) -> Tensor:
    """Return the loss of each cell: of all but the centres the less, the nearer it is to one."""
    there, elsewhere = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    centre = (1 - there.exp()) ** _FOCUS * -there
    other = (1 - heat) ** _FORGIVEN * there.exp() ** _FOCUS * -elsewhere
    return torch.where(heat == 1, centre, other)


def decode(
    maps: Tensor, size: Sequence[int], classes: int, stride: int, *, most: int, largest_overlap: float
) -> Detections:
    """Return the boxes of maps: the highest of the cells that none around them exceeds.

    Args:
        maps: (B, K + 2 D, *S).
        size: Of the images, in pixels; boxes are cut to it.
        classes: K.
        stride: Pixels of a cell.
        most: Boxes of an image, at most.
        largest_overlap: See `suppress`.
    """
    shape, axes, maps = maps.shape[2:], maps.ndim - 2, full(maps)
    logits = maps[:, :classes] + PRIOR
    pool = functional.max_pool2d if axes == 2 else functional.max_pool3d
    peaks = logits.masked_fill(pool(logits, 3, stride=1, padding=1) != logits, -torch.inf).flatten(1)
    scores, index = peaks.topk(min(most, peaks.shape[1]), dim=1)
    cells_in_class = math.prod(shape)
    place = index % cells_in_class
    ends = maps[:, classes:].flatten(2)
    ends = ends.gather(2, place[:, None].expand(-1, 2 * axes, -1)).transpose(1, 2)
    cells = torch.stack(torch.unravel_index(place, shape), dim=-1)
    centre, half = cells + ends[..., :axes], ends[..., axes:].exp() / 2
    edge = centre.new_tensor(size)
    low, high = (((centre + sign * half) * stride).clamp(min=0).minimum(edge) for sign in (-1, 1))
    boxes, kinds = torch.cat([low, high], dim=-1), index // cells_in_class
    left = suppress(boxes, kinds, largest_overlap)
    return Detections(boxes, scores.masked_fill(~left, -torch.inf), kinds)
