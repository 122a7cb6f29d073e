"""How unlike images are, how uneven a field is, how little masks overlap: one value per sample, from 0."""

import math
from collections.abc import Callable, Sequence

import torch
from monai.losses import GlobalMutualInformationLoss, LocalNormalizedCrossCorrelationLoss
from torch import Tensor
from torch.nn.functional import one_hot

from shared.tasks.registration.options import Registration

_BINS = 32
_LEAST = 1e-5  # of a sum of shares, so that nothing is divided by 0


def dissimilarity(options: Registration, dimensions: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function from two images (B, C, *S) to how unlike they are (B,), 0 at best.

    The mean squared difference; 1 less the mean squared local cross-correlation; or what the mutual
    information lacks of its largest value, the logarithm of the bins.
    """
    if options.similarity == "mse":
        return lambda one, other: (one - other).square().flatten(1).mean(1)
    if options.similarity == "lncc":
        lncc = LocalNormalizedCrossCorrelationLoss(dimensions, options.window, reduction="none")
        # it adds up the channels of an image, so each is compared by itself
        return lambda one, other: (1 + _by_channel(lncc, one, other)).clamp(min=0)  # rounding
    information = GlobalMutualInformationLoss(num_bins=_BINS, reduction="none")
    return lambda one, other: math.log(_BINS) + _by_channel(information, one, other)


def _by_channel(compare: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> Tensor:
    batch, channels = one.shape[:2]
    apart = (image.reshape(batch * channels, 1, *image.shape[2:]) for image in (one, other))
    return compare(*apart).reshape(batch, -1).mean(1)


def unevenness(field: Tensor, regularisation: str) -> Tensor:
    """Return the mean of the squared derivatives of fields (B, D, *S), summed over the axes, (B,).

    `diffusion` takes the first derivatives (Balakrishnan et al. 2019, equation 6), `bending` the second ones,
    those along two axes twice (Rueckert et al. 1999). Not MONAI's: PyTorch will read its lists of slices as
    something else, and its central differences don't see a field that alternates from pixel to pixel.
    """
    axes = range(2, field.dim())
    first = [field.diff(dim=axis) for axis in axes]
    if regularisation == "diffusion":
        return _mean_square(first)
    second = [slope.diff(dim=other) for slope, axis in zip(first, axes, strict=True) for other in axes]
    return _mean_square(second)


def _mean_square(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.square().flatten(1).mean(1) for part in parts]).sum(0)


def structures(mask: Tensor, classes: int) -> Tensor:
    """Return which pixel is of which structure, (B, K, *S) of 0 and 1, of a mask (B, *S)."""
    return one_hot(mask.long(), classes + 1)[..., 1:].movedim(-1, 1).float()


def apart(moved: Tensor, fixed: Tensor) -> Tensor:
    """Return 1 less the soft Dice (B,) of shares of structures (B, K, *S), the mean over them."""
    both = (moved * fixed).flatten(2).sum(2)
    either = moved.flatten(2).sum(2) + fixed.flatten(2).sum(2)
    return 1 - ((2 * both + _LEAST) / (either + _LEAST)).mean(1)
