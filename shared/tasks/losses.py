"""The losses that a job may name, each with one value per image.

A batch's loss is the mean of its images' losses. So an image's loss does not depend on which images share its
batch, evaluation adds up over batches and sites, and private training has its one value per sample. One loss
for training is an exception: the Dice over the whole batch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.losses import FocalLoss
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.tasks.options import ClassesOptions
from shared.tasks.precision import full
from shared.tasks.region_losses import (
    SampleLoss,
    added,
    boundary,
    dice,
    generalised_dice,
    of_levels,
    per_image,
    tubes,
    tversky,
)
from shared.tasks.segmentation.options import Segmentation

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

__all__ = ["SampleLoss", "class_weights", "evaluation_loss", "public_counts", "training_loss"]


def training_loss(job: "JobSpec", class_counts: NDArray[np.int64] | None) -> SampleLoss:
    """Build the loss that the job names, with its weights for class imbalance.

    Args:
        job: Names the loss and says if classes are weighted.
        class_counts: (K,) images (classification) or voxels (segmentation) of each class, of the site or of
            the federation as the job's `class_weights` says. Needed for class weights and balanced softmax.

    Raises:
        ValueError: The counts are needed and missing, or there are not as many as classes.
    """
    options = _classes_of(job)
    if not options.needs_counts:
        return _for_training(options, None)
    if class_counts is None:
        raise ValueError(f"loss '{options.loss}': needs the counts of the classes")
    if class_counts.shape != (options.counted,):
        raise ValueError(f"class counts: expected {options.counted}, got shape {class_counts.shape}")
    if options.class_weights == "none":
        return _balanced_softmax(class_counts, options.label_smoothing)
    return _for_training(options, class_weights(class_counts))


def _classes_of(job: "JobSpec") -> ClassesOptions:
    if not isinstance(job.task, ClassesOptions):
        raise TypeError(f"'{job.task.name}' has no classes")
    return job.task


def _for_training(options: ClassesOptions, weights: Tensor | None) -> SampleLoss:
    if options.loss == "batch-dice-ce":
        loss = added(dice(over_batch=True), _cross_entropy(weights, options.label_smoothing))
    else:
        loss = _named(options, weights, options.label_smoothing)
    return of_levels(loss) if options.takes_levels else loss


def public_counts(job: "JobSpec") -> NDArray[np.int64] | None:
    """Return counts of the classes, (K,), that are in the proportion of the job's `class_shares`, or None."""
    if not isinstance(job.task, ClassesOptions) or job.task.class_shares is None:
        return None
    shares = np.array(job.task.class_shares)
    return np.maximum(np.rint(shares / shares.sum() * 1e6), 1).astype(np.int64)


def evaluation_loss(job: "JobSpec") -> SampleLoss:
    """Build the loss as it is reported: without weights or smoothing, and so the same at every site.

    Balanced softmax is judged by the cross-entropy, as its paper tests with the plain softmax, and the Dice
    over the batch by that of each image: what is reported must not depend on how images are batched.
    """
    return _named(_classes_of(job), None)


def class_weights(counts: NDArray[np.int64]) -> Tensor:
    """Return weights (K,) by inverse frequency, with mean 1 over the examples.

    A mean of 1 over examples, not over classes, leaves the size of a step as it is (scikit-learn's
    'balanced'). A class that does not occur counts 1: with one label per image it is never the target, and
    with several labels its absence is still learnt.
    """
    present = counts > 0
    weights = np.ones(len(counts))
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return torch.from_numpy(weights).float()


def _named(options: ClassesOptions, weights: Tensor | None, smoothing: float = 0.0) -> SampleLoss:
    if options.classified()[1].several:
        return _multi_label(options.loss, weights)
    if isinstance(options, Segmentation) and options.loss in _OF_REGIONS:
        return _OF_REGIONS[options.loss](options)
    if options.loss == "focal":
        return _focal(weights)
    cross_entropy = _cross_entropy(weights, smoothing)
    if isinstance(options, Segmentation) and options.loss == "cldice-ce":
        return added(tubes(options.tube_radius), cross_entropy)
    return added(dice(), cross_entropy) if options.loss in {"dice-ce", "batch-dice-ce"} else cross_entropy


def _cross_entropy(weights: Tensor | None, smoothing: float = 0.0) -> SampleLoss:
    """Cross-entropy of the softmax; a share of labels is spread over all classes (Szegedy et al. 2016)."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        scores = full(logits)
        weight = None if weights is None else weights.to(scores)
        losses = functional.cross_entropy(
            scores, targets.long(), weight=weight, reduction="none", label_smoothing=smoothing
        )
        return per_image(losses)

    return loss


def _multi_label(name: str, weights: Tensor | None) -> SampleLoss:
    """Mean over the labels of a sigmoid's cross-entropy or focal loss."""
    focal = FocalLoss(gamma=2.0, reduction="none")
    bce = torch.nn.BCEWithLogitsLoss(reduction="none")
    element = focal if name == "focal" else bce
    scale = torch.ones(1) if weights is None else weights
    return lambda logits, targets: per_image(
        element(full(logits), targets.to(full(logits))) * scale.to(logits.device)
    )


def _balanced_softmax(counts: NDArray[np.int64], smoothing: float) -> SampleLoss:
    """Cross-entropy of logits shifted by the log of the class's share (Ren et al., NeurIPS 2020).

    A class without images counts as if it had one, which keeps its logit finite: a site that never sees it
    then hardly pushes it down.
    """
    prior = torch.from_numpy(np.log(np.maximum(counts, 1) / np.maximum(counts, 1).sum())).float()
    cross_entropy = _cross_entropy(None, smoothing)
    return lambda logits, targets: cross_entropy(logits + prior.to(logits.device), targets)


def _focal(weights: Tensor | None) -> SampleLoss:
    """Focal loss of the softmax, gamma 2 (Lin et al., ICCV 2017)."""
    focal = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0, weight=weights, reduction="none")
    # Only the true class has a term, so the sum over classes is the loss of the voxel.
    return lambda logits, targets: per_image(focal(logits, targets[:, None]).sum(dim=1))


_OF_REGIONS: dict[str, Callable[[Segmentation], SampleLoss]] = {
    "dice": lambda _: dice(),
    "tversky": lambda options: tversky(options.tversky_beta),
    "focal-tversky": lambda options: tversky(options.tversky_beta, focal=True),
    "generalised-dice": lambda _: generalised_dice(),
    "boundary": lambda options: added(generalised_dice(), boundary(), options.boundary_weight),
}
"""Losses of segmentation that weigh structures by themselves."""
