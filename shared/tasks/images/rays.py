"""Parallel rays through pictures (C, H, W), and back: Radon's transform and filtered back projection.

Lengths are in pixels; rays lie one pixel apart around the middle of the picture, and cover its corners.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from shared.tasks.images.ray_count import rays_across


def projected(image: Tensor, angles: int) -> Tensor:
    """Return sums along rays (C, angles, N) of a picture, over half a turn."""
    height, width = image.shape[1:]
    count = rays_across((height, width))
    steps = torch.arange(count) - (count - 1) / 2
    along, across = steps[:, None], steps
    turn = (torch.arange(angles) * math.pi / angles)[:, None, None]
    columns = across * turn.cos() - along * turn.sin()
    rows = across * turn.sin() + along * turn.cos()
    places = torch.stack([2 * columns / width, 2 * rows / height], dim=3).to(image.device)
    turned = grid_sample(image.expand(angles, -1, -1, -1), places, align_corners=False)
    return turned.sum(2).transpose(0, 1)


def filtered_back(rays: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the picture (C, H, W) of sums along rays (C, angles, N): ramp filter, linear interpolation.

    Kak and Slaney 1988, "Principles of computerized tomographic imaging", equations 3.21 and 3.22.
    """
    return smeared_back(_ramped(rays), size) * math.pi / rays.shape[1]


def smeared_back(rays: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the picture (C, H, W) whose pixels are sums over the rays (C, angles, N) that cross them."""
    channels, angles, count = rays.shape
    rows, columns = (torch.arange(length) - (length - 1) / 2 for length in size)
    turn = torch.arange(angles) * math.pi / angles
    places = columns * turn.cos()[:, None, None] + rows[:, None] * turn.sin()[:, None, None]
    across = (2 * places / count).view(angles, 1, -1)
    grid = torch.stack([across, torch.zeros_like(across)], dim=3).to(rays.device)
    lines = rays.transpose(0, 1)[:, :, None]  # (angles, C, 1, N)
    return grid_sample(lines, grid, align_corners=False).sum(0).view(channels, *size)


def _ramped(rays: Tensor) -> Tensor:
    """Filter sums along rays by the ramp that is sampled in space, which keeps the mean right."""
    count = rays.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * count))
    steps = torch.fft.fftfreq(length, 1 / length)  # 0, 1, ..., -1
    kernel = torch.where(steps.long() % 2 == 1, -1 / (math.pi * steps) ** 2, 0.0)
    kernel[0] = 0.25
    ramp = torch.fft.rfft(kernel).real.to(rays.device)
    filtered = torch.fft.irfft(torch.fft.rfft(rays, length) * ramp, length)
    return filtered[..., :count]
