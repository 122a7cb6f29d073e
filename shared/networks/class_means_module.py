"""Prototypes: what is held of each class, and how far an image is from it; loads PyTorch."""

import torch
from torch import Tensor, nn

from shared.networks.options import Ends

_LEAST_SHARE = 1e-6  # of images: what is held of fewer is of none


class ClassMeans(nn.Module):
    """What is held of each class: the mean over images of its features, and the share of images of it.

    The numbers are the weight of a linear layer that sees each class by itself, so that the gradient of each
    sample is known (`client.training.clipping`). They begin at 0.
    """

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self.held = nn.Linear(ends.outputs, ends.channels + 1, bias=False)
        nn.init.zeros_(self.held.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return what is held (B, K, F + 1), the same for each of the features (B, F)."""
        classes = torch.eye(self.held.in_features).to(features)
        held: Tensor = self.held(classes.expand(len(features), -1, -1))
        return held


def nearest_mean(features: Tensor, held: Tensor) -> Tensor:
    """Return minus the squared distance of features (B, F) from the mean of each class, (B, K).

    A class of which nothing is held yet is farther than all others.

    Args:
        features: Of images.
        held: As `ClassMeans` gives it.
    """
    shares = held[..., -1]
    known = shares > _LEAST_SHARE
    means = held[..., :-1] / torch.where(known, shares, 1.0)[..., None]
    logits = -(features[:, None] - means).square().sum(dim=2)
    lowest = torch.where(known, logits, torch.inf).amin(dim=1, keepdim=True)
    beyond = torch.where(lowest.isinf(), 0.0, lowest).detach() - 1
    return torch.where(known, logits, beyond)
