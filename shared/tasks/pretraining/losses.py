"""What is minimised over a batch of two views of each image."""

import torch
from torch import Tensor
from torch.nn import functional

_SMALL = 1e-6  # of a variance


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of finding a view's twin among all other views of the batch, a scalar.

    Chen et al. 2020, "A simple framework for contrastive learning of visual representations", equation 1.

    Args:
        first: Projections (B, N) of one view of each image.
        second: The same of the other.
        temperature: By which likenesses (cosines) are divided.
    """
    views = functional.normalize(torch.cat([first, second]), dim=1)
    likeness = views @ views.T / temperature
    own = torch.eye(len(views), dtype=torch.bool, device=views.device)
    twins = torch.arange(len(views), device=views.device).roll(len(first))
    return functional.cross_entropy(likeness.masked_fill(own, -torch.inf), twins)


def barlow_twins(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Return how far the cross-correlation of two views' numbers is from the identity, a scalar.

    Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy reduction", equation 1.

    Args:
        first: Projections (B, N) of one view of each image.
        second: The same of the other.
        redundancy: Weight of the squares beside the diagonal.
    """
    correlation = _scaled(first).T @ _scaled(second) / len(first)
    diagonal = correlation.diagonal()
    beside = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * beside


def _scaled(values: Tensor) -> Tensor:
    """Return columns (B, N) with mean 0 and variance 1 over the batch."""
    centred = values - values.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + _SMALL).sqrt()
