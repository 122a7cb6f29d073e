"""Classification by prototypes: an image is of the class whose mean of features is nearest."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from shared.batch import Batch, Prediction
from shared.networks.class_means_module import nearest_mean
from shared.tasks.base import Models
from shared.tasks.classes import LOGITS
from shared.tasks.classification.options import PROTOTYPES
from shared.tasks.classification.task import ClassificationTask
from shared.tasks.losses import SampleLoss
from shared.tasks.precision import full
from shared.tasks.programs import Program
from shared.tasks.stack_options import ENCODER

if TYPE_CHECKING:
    pass

_FEATURES, _MEANS = "features", "means"


class PrototypeClassification(ClassificationTask):
    """Prototypical networks (Snell et al. 2017, equations 1 and 2), whose class means are sums over sites.

    `[model.encoder]` makes features of an image; `[model.prototypes]` holds for each class the mean over all
    images of what this class has of them (the features, where the image is of it, and otherwise 0), and the
    share of images that are of it. A prototype is the one over the other. Both are means over images, so that
    the mean of the sites' models, weighed by their images, is that of all images.

    The paper takes prototypes of images drawn for each step. Here they are learnt: half the squared distance
    of what is held from an image's own is added to its loss, whose least is at the means. One step of SGD
    with rate 1 over all images of a site gives them exactly.
    """

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits (B, K), the features (B, F) and what is held of classes (B, K, F + 1)."""
        features = full(models[ENCODER](batch[self.input]))
        means = full(models[PROTOTYPES](features))
        return {LOGITS: nearest_mean(features, means.detach()), _FEATURES: features, _MEANS: means}

    def training_losses(self, loss: SampleLoss, predicted: Prediction, batch: Batch) -> Tensor:
        """See the base class; and how far what is held of classes is from the image's own."""
        means, features = predicted[_MEANS], predicted[_FEATURES].detach()
        of_class = one_hot(batch[self.target], means.shape[1]).to(means)[..., None]
        own = of_class * torch.cat([features, features.new_ones(len(features), 1)], dim=1)[:, None]
        return super().training_losses(loss, predicted, batch) + (means - own).square().flatten(1).sum(1) / 2

    def program(self, models: Models) -> Program:
        """Return encoder and prototypes as one module."""
        module = _Nearest(models[ENCODER], models[PROTOTYPES])
        return Program(module, {self.input: self.image_input()}, LOGITS, self._meaning, self._facts)


class _Nearest(nn.Module):
    def __init__(self, encoder: nn.Module, prototypes: nn.Module) -> None:
        super().__init__()
        self.encoder, self.prototypes = encoder, prototypes

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(images)
        return nearest_mean(features, self.prototypes(features))
