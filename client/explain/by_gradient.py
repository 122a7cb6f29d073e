"""Maps from gradients of a prediction by its image."""

import torch
from monai.visualize import SmoothGrad
from torch import Tensor, nn

from client.explain.subject import Subject
from shared.errors import RunError
from shared.networks.random_state import drawn_from
from shared.seeds import seed_of

_STEPS = 32  # along the way from the baseline
_NOISY = 25  # copies of an image, and their noise as a share of its range: those of the paper
_SPREAD = 0.15
_ALONG = 4  # places on the way from each of the other images


class Scored(nn.Module):
    """What is explained as a network of one output, (N, C, *S) -> (N, 1), as MONAI's methods ask for it."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self._subject = subject

    def forward(self, images: Tensor) -> Tensor:
        """Return the number for each image."""
        return self._subject.score(images)[:, None]


def integrated_gradients(subject: Subject) -> Tensor:
    """Return the share of each pixel (*S) in what sets the image apart from one of zeros.

    The mean gradient along the straight way from there, times the difference; all shares add up to the
    difference of the two scores (Sundararajan, Taly and Yan, ICML 2017, equation 2; the middle of 32 steps).
    Zero is black for images brought to 0..1, and the mean of the image for those brought to mean 0.
    """
    places = (torch.arange(_STEPS, device=subject.image.device) + 0.5) / _STEPS
    gradients = subject.gradients(subject.image * _column(places, subject.image))
    return (gradients.mean(dim=0) * subject.image[0]).sum(dim=0)


def expected_gradients(subject: Subject) -> Tensor:
    """Return the share of each pixel (*S) in what sets the image apart from other images of the data.

    Integrated gradients from each of these, averaged: Shapley values of a network that is linear along the
    way (Erion et al., Nature Machine Intelligence 2021, equation 5; SHAP's `GradientExplainer`).

    Raises:
        RunError: There is no other image of its size.
    """
    if not len(subject.others):
        raise RunError(
            "there is no other image of the same size to compare with",
            where="--explain shap",
            remedy="Give data of at least two images, or take integrated-gradients.",
        )
    generator = torch.Generator().manual_seed(seed_of(subject.seed, "places"))
    drawn = torch.rand(len(subject.others), _ALONG, generator=generator)
    places = ((torch.arange(_ALONG) + drawn) / _ALONG).reshape(-1).to(subject.image)
    others = subject.others.repeat_interleave(_ALONG, dim=0)
    apart = subject.image - others
    gradients = subject.gradients(others + _column(places, others) * apart)
    return (gradients * apart).mean(dim=0).sum(dim=0)


def smooth_gradient(subject: Subject) -> Tensor:
    """Return how strongly each pixel (*S) changes the score, as the mean over noisy copies of the image.

    Smilkov et al. 2017 (MONAI `SmoothGrad`); it has no sign.
    """
    method = SmoothGrad(Scored(subject), _SPREAD, _NOISY, verbose=False)
    with drawn_from(seed_of(subject.seed, "noise"), subject.image.device):
        found: Tensor = method(subject.image.detach().clone(), 0)
    return found[0].abs().sum(dim=0)


def _column(values: Tensor, images: Tensor) -> Tensor:
    """Return (N,) so that it multiplies images (N, C, *S)."""
    return values.view(-1, *[1] * (images.dim() - 1))
