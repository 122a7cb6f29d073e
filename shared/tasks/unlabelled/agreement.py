"""The losses of samples of which some have no label: those of labels, and of agreement with a teacher.

Each sample's loss depends on no other sample, and the network sees each once: so its gradient can be clipped
by itself under differential privacy. The teacher is a function of models that the coordinator has, or of
steps that have their noise; it is not trained.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from shared.batch import Batch
from shared.tasks.fields import UNKNOWN_LABEL, UNKNOWN_PIXEL
from shared.tasks.precision import full
from shared.tasks.region_losses import SampleLoss, per_image
from shared.tasks.unlabelled.options import UnlabelledTable
from shared.tasks.unlabelled.views import views

VIEWS = "view_seeds"
"""Field of a batch: (B,) int64, the seed of the view that the network sees of each image."""

_SEEN = 0.5  # probability of a structure in a pixel
_SMOOTH = 1.0  # pixels: of an image with hardly any structure the overlap says nothing


def are_known(targets: Tensor) -> Tensor:
    """Return which samples have a target, bool (B,): of labels (B,), or of masks (B, *S).

    A mask that was moved may have pixels of background at its border, where there is no image.
    """
    if targets.dim() == 1:
        return targets != UNKNOWN_LABEL
    return targets.flatten(1).amax(dim=1) != UNKNOWN_PIXEL


class Agreement:
    """How a network learns from a teacher beside labels.

    Args:
        table: The job's.
        dense: Whether each pixel has a class.
    """

    def __init__(self, table: UnlabelledTable, *, dense: bool) -> None:
        self._fixmatch = table.method == "fixmatch"
        self._dense = dense
        self._weight = float(table.value_of("weight"))
        self._ramp = int(table.value_of("ramp_rounds"))
        self._threshold = float(table.value_of("threshold"))

    def drawn(self, batch: Batch, seed: int) -> Batch:
        """Return a batch with the seed of each sample's view."""
        return batch.plus(**{VIEWS: torch.tensor(batch.seeds(seed))})

    def shown(self, images: Tensor, seeds: Tensor, known: Tensor) -> Tensor:
        """Return what the network sees (B, C, *S) of images.

        With a mean teacher all are changed; with FixMatch the unlabelled ones, and those with a label are
        learnt as they are.
        """
        changed = views(images, seeds.tolist(), erase=not self._dense)
        if not self._fixmatch:
            return changed
        return torch.where(known.view(-1, *[1] * (images.dim() - 1)), images, changed)

    def losses(
        self, labels: SampleLoss, logits: Tensor, taught: Tensor, targets: Tensor, rounds: float
    ) -> Tensor:
        """Return the loss of each sample, (B,).

        Args:
            labels: The job's loss of logits and targets.
            logits: (B, K, *S) of the network, of what it was shown; with several levels (B, M, K, *S).
            taught: (B, K, *S) of the teacher, of the images as they are; without gradients.
            targets: (B,) or (B, *S).
            rounds: That are done, with a part of this one.
        """
        known = are_known(targets)
        beside = known.view(-1, *[1] * (targets.dim() - 1))
        of_labels = labels(logits, torch.where(beside, targets, torch.zeros_like(targets))) * known
        finest = logits if logits.dim() == taught.dim() else logits[:, 0]
        return of_labels + self.weight(rounds) * self._of_teacher(full(finest), full(taught), known)

    def weight(self, rounds: float) -> float:
        """Return the weight of the agreement, rising as in Laine and Aila 2017, "Temporal ensembling"."""
        if not self._ramp:
            return self._weight
        return self._weight * math.exp(-5 * (1 - min(1.0, rounds / self._ramp)) ** 2)

    def _of_teacher(self, logits: Tensor, taught: Tensor, known: Tensor) -> Tensor:
        said = taught.softmax(dim=1)
        if self._fixmatch:
            return self._of_sure(logits, said) * ~known
        shares = logits.softmax(dim=1)
        squares = per_image((shares - said).square().sum(dim=1))
        return squares + _overlap(shares, said) if self._dense else squares

    def _of_sure(self, logits: Tensor, said: Tensor) -> Tensor:
        """Cross-entropy with the teacher's class, where it is sure of it; elsewhere 0."""
        surest, classes = said.max(dim=1)
        sure = (surest >= self._threshold).to(logits)
        found = per_image(functional.cross_entropy(logits, classes, reduction="none") * sure)
        if not self._dense:
            return found
        marked = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1).to(logits) * sure[:, None]
        return found + _overlap(logits.softmax(dim=1) * sure[:, None], marked)


def _overlap(shares: Tensor, said: Tensor) -> Tensor:
    """One minus the soft Dice of each image (B,), over all structures together.

    Without it the background, nearly all of most images, would be all that is agreed on. It is 0 where the
    teacher sees no structure in any pixel: a teacher that has learnt little sees none in most images, and
    the overlap with nothing is steep, so that the network would soon see none anywhere.
    """
    own, other = shares[:, 1:].flatten(1), said[:, 1:].flatten(1)
    both, either = (own * other).sum(dim=1), own.square().sum(dim=1) + other.square().sum(dim=1)
    return (1 - (2 * both + _SMOOTH) / (either + _SMOOTH)) * (other.amax(dim=1) >= _SEEN)
