"""Losses that look at regions as a whole, with one value per image: overlaps, and the distance of borders.

All but the generalised Dice leave the background out: nearly all of it is easy, and its overlap near 1 would
hide the structures.
"""

from collections.abc import Callable

import torch
from monai.losses import BoundaryLoss, DiceLoss, GeneralizedDiceLoss, TverskyLoss
from monai.losses.cldice import soft_skel
from monai.networks.utils import one_hot
from torch import Tensor

from shared.tasks.precision import full

SampleLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K, *S), targets (B, *S) or, with several labels, (B, K)) -> losses (B,)."""

FOCUS = 3 / 4
"""Power of the focal Tversky loss: 1 / gamma with the paper's gamma of 4/3."""


def per_image(losses: Tensor) -> Tensor:
    """Return the mean (B,) of an image's losses (B, ...)."""
    return losses.reshape(len(losses), -1).mean(dim=1)


def added(first: SampleLoss, second: SampleLoss, weight: float = 1.0) -> SampleLoss:
    """Return a loss and another one of some weight as one."""
    return lambda logits, targets: first(logits, targets) + weight * second(logits, targets)


def of_levels(loss: SampleLoss) -> SampleLoss:
    """Return a loss that takes the maps of several levels (B, M, K, *S) too, the finest first.

    Each counts half of the finer one before it, and together 1 (Isensee et al. 2021).
    """

    def total(logits: Tensor, targets: Tensor) -> Tensor:
        if logits.ndim < targets.ndim + 2:
            return loss(logits, targets)
        weights = [0.5**level for level in range(logits.shape[1])]
        losses = [weight * loss(own, targets) for weight, own in zip(weights, logits.unbind(1), strict=True)]
        return torch.stack(losses).sum(dim=0) / sum(weights)

    return total


def dice(*, over_batch: bool = False) -> SampleLoss:
    """Soft Dice of each image or of the whole batch, mean over the structures (Milletari et al., 3DV 2016).

    The Dice of an image without a structure has almost no gradient; over the batch, false alarms there count.
    """
    monai = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, reduction="none", batch=over_batch
    )

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        losses = monai(full(logits), targets[:, None])
        return losses.mean().expand(len(targets)) if over_batch else per_image(losses)

    return loss


def tversky(beta: float, *, focal: bool = False) -> SampleLoss:
    """One minus the Tversky index, mean over the structures (Salehi et al., MLMI 2017, equation 2).

    Args:
        beta: Weight of what is missed; what is added wrongly has 1 - beta. 0.5 is the Dice.
        focal: To the power of 3/4 for each structure (Abraham and Khan, ISBI 2019, equation 4), so that those
            that are nearly right count less; their sum over structures is a mean here.
    """
    monai = TverskyLoss(
        include_background=False, to_onehot_y=True, softmax=True, alpha=1 - beta, beta=beta, reduction="none"
    )

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        losses = monai(full(logits), targets[:, None])
        if focal:  # at 0 the power has no finite slope
            losses = losses.clamp(min=torch.finfo(losses.dtype).eps).pow(FOCUS)
        return per_image(losses)

    return loss


def generalised_dice() -> SampleLoss:
    """Dice of all classes at once, each weighed by one over its squared volume (Sudre et al., DLMIA 2017).

    The background is one of the classes, as in the paper. A class that an image has not weighs as much as the
    smallest that it has.
    """
    monai = GeneralizedDiceLoss(to_onehot_y=True, softmax=True, reduction="none")
    return lambda logits, targets: per_image(monai(full(logits), targets[:, None]))


def boundary() -> SampleLoss:
    """Mean of what is wrong times its distance from the true border (Kervadec et al., MIDL 2019, equation 5).

    Distances are in pixels of the network's grid: below 0 inside, above 0 outside, 0 everywhere if the image
    lacks the structure. They are computed in main memory from the mask as it was augmented. The paper has a
    constant of each image besides; without it the loss is never below 0, as sums over sites want it.
    """
    monai = BoundaryLoss()

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        found = full(logits).softmax(dim=1)[:, 1:]
        true = one_hot(targets[:, None], num_classes=logits.shape[1])[:, 1:].to(found)
        distances = monai.compute_distance_map(true.cpu()).to(found)
        return per_image((found - true) * distances)

    return loss


def tubes(steps: int) -> SampleLoss:
    """Half of the soft Dice's loss and half of the soft centre-line Dice's, of each image.

    Shit et al., CVPR 2021, equation 3 and algorithms 1 and 2, with alpha 0.5: the shares of either middle
    line that lie in the other's mask; 1 is added to both parts of each, as in the authors' code.

    Args:
        steps: Pixels of the largest radius of a tube.
    """
    overlap = dice()

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        scores = full(logits)
        found = scores.softmax(dim=1)[:, 1:]
        classes = torch.arange(1, scores.shape[1], device=targets.device)
        true = (targets[:, None] == classes.view(1, -1, *[1] * (targets.ndim - 1))).to(found)
        lines = soft_skel(found, steps), soft_skel(true, steps)
        precision, sensitivity = _share_within(lines[0], true), _share_within(lines[1], found)
        centre = 2 * precision * sensitivity / (precision + sensitivity)
        return (overlap(logits, targets) + 1 - centre.mean(dim=1)) / 2

    return loss


def _share_within(line: Tensor, mask: Tensor) -> Tensor:
    """Return the share of a middle line (B, K, *S) that lies in a mask, (B, K)."""
    return ((line * mask).flatten(2).sum(2) + 1) / (line.flatten(2).sum(2) + 1)
