"""Another view of an image (C, *S): changed in its shades, and where it may be with a part left out.

Nothing moves, so that what is said of a pixel of one view can be compared with what is said of the other.
Each change has its own chance of 1/2. All is drawn from a generator in main memory: the same seed gives the
same view on every device, up to rounding.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

CHANCE = 0.5
CONTRAST, BRIGHTNESS = 0.4, 0.4  # largest change of a channel: of its spread, and in its deviations
NOISE = 0.3  # largest deviation of the noise, in those of the channel
BLUR = 2  # pixels that a mean is taken over along each axis, and spread over again
ERASED = 0.5  # largest part of each axis that is left out
LEAST_PART = 0.5  # of each axis, that is magnified


def changed(image: Tensor, seed: int, *, erase: bool) -> Tensor:
    """Return another view of an image (C, *S), with gradients by the image.

    Args:
        image: Prepared.
        seed: Of what is drawn.
        erase: Leave out a box, where a pixel's own class is not asked for.
    """
    source = torch.Generator().manual_seed(seed)
    found = _shaded(image, source)
    found = _blurred(found, source)
    found = _noisy(found, image, source)
    return _erased(found, source) if erase else found


def views(images: Tensor, seeds: Sequence[int], *, erase: bool) -> Tensor:
    """Return another view of each image (B, C, *S), each by its own seed."""
    return torch.stack([changed(image, seed, erase=erase) for image, seed in zip(images, seeds, strict=True)])


def _happens(source: Generator) -> bool:
    return bool(torch.rand((), generator=source) < CHANCE)


def _between(source: Generator, largest: float, *size: int) -> Tensor:
    return largest * (2 * torch.rand(size, generator=source) - 1)


def _of_channels(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel, (C, 1, ...)."""
    axes = tuple(range(1, image.dim()))
    detached = image.detach()
    return detached.mean(axes, keepdim=True), detached.std(axes, keepdim=True)


def _shaded(image: Tensor, source: Generator) -> Tensor:
    happens, draws = _happens(source), _between(source, 1.0, 2, len(image)).to(image)
    if not happens:
        return image
    (mean, deviation), shape = _of_channels(image), (-1, *[1] * (image.dim() - 1))
    scale, shift = 1 + CONTRAST * draws[0].view(shape), BRIGHTNESS * draws[1].view(shape)
    return (image - mean) * scale + mean + shift * deviation


def _blurred(image: Tensor, source: Generator) -> Tensor:
    if not _happens(source) or min(image.shape[1:]) < 2 * BLUR:
        return image
    size = list(image.shape[1:])
    small = functional.interpolate(image[None], [max(1, pixels // BLUR) for pixels in size], mode="area")
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return functional.interpolate(small, size, mode=mode)[0]


def _noisy(image: Tensor, first: Tensor, source: Generator) -> Tensor:
    happens, level = _happens(source), float(torch.rand((), generator=source)) * NOISE
    if not happens:
        return image
    noise = torch.randn(image.shape, generator=source).to(image)
    return image + level * _of_channels(first)[1] * noise


def _erased(image: Tensor, source: Generator) -> Tensor:
    """Put the mean of each channel into a box (DeVries and Taylor 2017, "cutout")."""
    happens, axes = _happens(source), image.dim() - 1
    parts = ERASED * torch.rand(axes, generator=source)
    places = torch.rand(axes, generator=source)
    if not happens:
        return image
    inside = torch.zeros(image.shape[1:], dtype=torch.bool)
    box = []
    for size, part, place in zip(image.shape[1:], parts.tolist(), places.tolist(), strict=True):
        length = round(size * part)
        first = round(place * (size - length))
        box.append(slice(first, first + length))
    inside[tuple(box)] = True
    return torch.where(inside.to(image.device), _of_channels(image)[0], image)


def another(image: Tensor, seed: int) -> Tensor:
    """Return a view of an image (C, *S) that may lie elsewhere: a part of it, magnified, mirrored, changed.

    As in Chen et al. 2020, section 3: a random part, then colours and blur.
    """
    source = torch.Generator().manual_seed(seed)
    axes = image.dim() - 1
    part = LEAST_PART + (1 - LEAST_PART) * torch.rand((), generator=source)
    shift = (1 - part) * (2 * torch.rand(axes, generator=source) - 1)
    mirrored = torch.where(torch.rand(axes, generator=source) < CHANCE, -1.0, 1.0)
    matrix = torch.cat([torch.diag(part * mirrored), shift[:, None]], dim=1).to(image)
    places = functional.affine_grid(matrix[None], [1, *image.shape], align_corners=False)
    cropped = functional.grid_sample(image[None], places, padding_mode="border", align_corners=False)[0]
    return changed(cropped, int(torch.randint(2**62, (), generator=source)), erase=False)
