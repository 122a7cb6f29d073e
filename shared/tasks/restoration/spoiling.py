"""What degradations do to an image (C, *S) within 0 and 1, as tensors in main memory.

All random numbers come from a generator, so the same seed spoils an image in the same way everywhere.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from shared.tasks.images.rays import filtered_back, projected
from shared.tasks.restoration.degradations import Degradation

_WAVES = 3  # cosines of a bias field along each axis, the constant among them
_CENTRE = 0.08  # share of the lines, in the middle of k-space, that are taken before anybody moves


def spoil(image: Tensor, degradations: Sequence[Degradation], source: Generator) -> Tensor:
    """Return a copy of an image, spoilt in several ways one after another."""
    for own in degradations:
        image = _HOW[own.kind](image, source, **own.model_dump(exclude={"kind"}))
    return image


def gaussian(image: Tensor, source: Generator, level: float) -> Tensor:
    """Add normal noise of a standard deviation."""
    return image + level * torch.randn(image.shape, generator=source)


def rician(image: Tensor, source: Generator, level: float) -> Tensor:
    """Return the magnitude of the image with normal noise in its real and its imaginary part."""
    real, imaginary = level * torch.randn((2, *image.shape), generator=source)
    return torch.hypot(image + real, imaginary)


def poisson(image: Tensor, source: Generator, photons: float) -> Tensor:
    """Count photons, whose mean number at a pixel of value 1 is given."""
    return torch.poisson(image.clamp(min=0) * photons, generator=source) / photons


def low_dose(image: Tensor, source: Generator, photons: float, attenuation: float, angles: int) -> Tensor:
    """Add what the noise of counted photons becomes in filtered back projection.

    A ray counts Poisson many of photons times exp(-line integral), at least one. Only its noise is
    reconstructed: what few angles alone would change is no matter of dose.
    """
    rays = projected(image, angles)
    scale = attenuation / image.shape[-1]
    counts = torch.poisson(photons * torch.exp(-scale * rays), generator=source).clamp(min=1)
    noise = -torch.log(counts / photons) / scale - rays
    return image + filtered_back(noise, image.shape[1:])


def downsample(image: Tensor, source: Generator, factor: Sequence[float]) -> Tensor:
    """Take means over larger pixels, and bring them back to the image's size linearly; nothing is drawn."""
    size = image.shape[1:]
    factors = list(factor) * (len(size) // len(factor))
    small = [max(1, round(pixels / own)) for pixels, own in zip(size, factors, strict=True)]
    means = interpolate(image[None], small, mode="area")
    return interpolate(means, size, mode="bilinear" if len(size) == 2 else "trilinear")[0]


def motion(image: Tensor, source: Generator, moves: int, shift: float, turn: float) -> Tensor:
    """Take the lines of k-space along the first axis in as many poses as the patient has, one after another.

    The lines in the middle, which hold most of the image, are of the first pose, so that the image stays
    where it was (Johnson and Drangova 2019, "Conditional generative adversarial network for 3D rigid-body
    motion correction in MRI", section 2).
    """
    axes, lines = tuple(range(1, image.dim())), image.shape[1]
    taken = torch.fft.fftshift(torch.fft.fftn(image, dim=axes), dim=axes)
    middle = (torch.arange(lines) - lines // 2).abs() <= _CENTRE * lines / 2
    starts = torch.randperm(lines, generator=source)[:moves].sort().values
    for start in starts.tolist():
        pose = _posed(image, shift, turn, source)
        moved = torch.fft.fftshift(torch.fft.fftn(pose, dim=axes), dim=axes)
        late = (torch.arange(lines) >= start) & ~middle
        taken = torch.where(late.view(1, -1, *[1] * (image.dim() - 2)), moved, taken)
    return torch.fft.ifftn(torch.fft.ifftshift(taken, dim=axes), dim=axes).abs()


def _posed(image: Tensor, shift: float, turn: float, source: Generator) -> Tensor:
    """Return the image shifted along all axes and turned in the plane of the last two."""
    axes = image.dim() - 1
    shifts = 2 * shift * torch.randn(axes, generator=source)  # of a length of 2, as `affine_grid` counts
    angle = float(math.radians(turn) * torch.randn((), generator=source))
    # Of pixels that are no squares in these coordinates: x runs along the last axis.
    wide = image.shape[-1] / image.shape[-2]
    matrix = torch.eye(axes, axes + 1)
    matrix[:2, :2] = torch.tensor(
        [[math.cos(angle), -math.sin(angle) / wide], [math.sin(angle) * wide, math.cos(angle)]]
    )
    matrix[:, -1] = shifts
    places = affine_grid(matrix[None], [1, *image.shape], align_corners=False)
    return grid_sample(image[None], places, padding_mode="border", align_corners=False)[0]


def bias(image: Tensor, source: Generator, level: float) -> Tensor:
    """Multiply by the exponential of slow cosines, of which each has its share of the level."""
    fields = torch.stack(list(_waves(image.shape[1:])))
    weights = (
        torch.randn(len(fields), generator=source) * level / fields.square().mean().mul(len(fields)).sqrt()
    )
    return image * torch.tensordot(weights, fields, dims=1).exp()


def _waves(size: Sequence[int]) -> Iterator[Tensor]:
    """Yield products of cosines (*S), of up to one wave along each axis."""
    lines = [
        [torch.cos(math.pi * wave * (torch.arange(pixels) + 0.5) / pixels) for wave in range(_WAVES)]
        for pixels in size
    ]
    for chosen in product(range(_WAVES), repeat=len(size)):
        if any(chosen):
            field = torch.ones(())
            for axis, wave in enumerate(chosen):
                field = field[..., None] * lines[axis][wave]
            yield field


_HOW: Mapping[str, Callable[..., Tensor]] = {
    "gaussian": gaussian,
    "rician": rician,
    "poisson": poisson,
    "low-dose": low_dose,
    "downsample": downsample,
    "motion": motion,
    "bias": bias,
}
