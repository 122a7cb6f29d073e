"""What a strategy adds to losses by features: of two other models too (`Contrast`), or not (`Alignment`)."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy

import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import WardroundError
from shared.networks.build import models_of
from shared.networks.features import Seen, features
from shared.strategies.vectors import Alignment, Contrast, Vector
from shared.tasks.base import Models, Task
from shared.wire.packed_model import ModelState


class FeatureAlignment:
    """Adds to each sample's loss what a strategy makes of its features alone.

    Args:
        alignment: Of the strategy.
    """

    def __init__(self, alignment: Alignment) -> None:
        self._alignment = alignment

    @staticmethod
    def watched(models: Models) -> AbstractContextManager[Seen]:
        """Give the features that the networks in training have of the samples that they see."""
        return features(list(models.values()))

    def losses(self, seen: Seen, batch: Batch) -> Tensor:
        """Return what is added to the loss of each sample, (B,).

        Args:
            seen: By the networks in training, of this batch.
            batch: Prepared.

        Raises:
            WardroundError: The network has no features for each sample.
        """
        return self._alignment.losses(_of_each(seen, batch))


class FeatureContrast:
    """Adds to each sample's loss what a strategy makes of its features, of which it remembers nothing.

    The other models are in evaluation mode, and stay as they are.

    Args:
        model: In training.
        task: Runs the networks.
        contrast: Of the strategy.
    """

    def __init__(self, model: nn.Module, task: Task, contrast: Contrast) -> None:
        self._task = task
        self._contrast = contrast
        self._towards = _copy(model, contrast.towards)
        self._away = _copy(model, contrast.away)

    @staticmethod
    def watched(models: Models) -> AbstractContextManager[Seen]:
        """Give the features that the networks in training have of the samples that they see."""
        return features(list(models.values()))

    def losses(self, seen: Seen, batch: Batch) -> Tensor:
        """Return what is added to the loss of each sample, (B,).

        Args:
            seen: By the networks in training, of this batch.
            batch: Prepared.

        Raises:
            WardroundError: The network has no features for each sample.
        """
        own = _of_each(seen, batch)
        with torch.no_grad():
            others = [self._features(models, batch) for models in (self._towards, self._away)]
        return self._contrast.losses(own, *others)

    def _features(self, models: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        with features(list(models.values())) as seen:
            self._task.forward(models, batch)
        return seen[0].float()


def _of_each(seen: Seen, batch: Batch) -> Tensor:
    if not seen or len(seen[0]) != len(batch):
        raise WardroundError(
            "the network has no features for each sample, which the strategy compares",
            where="[model]",
            remedy="Take a network with a linear layer or convolutions, or another strategy.",
        )
    return seen[0].float()


def _copy(model: nn.Module, vector: Vector) -> Models:
    copy = deepcopy(model)
    ModelState(copy).unpack(vector)
    return models_of(copy.requires_grad_(requires_grad=False).eval())
