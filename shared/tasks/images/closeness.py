"""How close images within 0 and 1 are: squared and absolute errors, PSNR, SSIM, each for every image."""

import math

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor

PEAK = 1.0  # of prepared images
MOST_DECIBELS = 100.0  # of images that are all but the same
_WINDOW = 11  # pixels along each axis, with a Gaussian of 1.5 (Wang et al. 2004)
_SIGMA = 1.5


def psnr(image: Tensor, true: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio (B,) in dB of images (B, C, *S), at most `MOST_DECIBELS`.

    10 log10(1 / MSE): the peak is that of a prepared image, whose values are within 0 and 1.
    """
    error = (image.double() - true.double()).square().flatten(1).mean(1)
    return -10 * error.clamp(min=10 ** (-MOST_DECIBELS / 10)).log10() + 20 * math.log10(PEAK)


def ssim(image: Tensor, true: Tensor) -> Tensor:
    """Return the structural similarity (B,) of images (B, C, *S) (Wang et al. 2004, equation 13).

    An image that is smaller than the window along an axis is compared in one as long as it.
    """
    axes = image.dim() - 2
    window = [min(_WINDOW, size) for size in image.shape[2:]]
    similarity, _ = compute_ssim_and_cs(image, true, axes, window, [_SIGMA] * axes, data_range=PEAK)
    return similarity.flatten(1).mean(1)


def mae(image: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """Return the mean absolute error (B,) in the units of the images' files.

    Args:
        image: (B, C, *S).
        true: The same.
        scale: What a channel's 0 and 1 stand for (B, C, 2); see `client.data.kinds.scale`.
    """
    errors = (image.double() - true.double()).abs().flatten(2).mean(2)
    return (errors * scale[..., 1]).mean(1)


def distances(image: Tensor, true: Tensor, *, power: int, share: float) -> Tensor:
    """Return losses (B,): the mean absolute or squared error, and a share of 1 - SSIM.

    Args:
        image: (B, C, *S).
        true: The same.
        power: 1 for absolute errors, 2 for squared ones.
        share: Of 1 - SSIM, 0 to 1; the errors have the rest (Zhao et al. 2017, "Loss functions for image
            restoration with neural networks", equation 11).
    """
    errors = (image - true).abs() if power == 1 else (image - true).square()
    losses = errors.flatten(1).mean(1)
    return losses if not share else (1 - share) * losses + share * (1 - ssim(image, true))


def clipped(image: Tensor) -> Tensor:
    """Return an image within 0 and 1, as prepared ones are."""
    return torch.clamp(image, 0.0, PEAK)
