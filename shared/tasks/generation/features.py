"""Features of images by a network that nobody trained: the same at every site, without a file of weights.

Random convolutions tell kinds of images apart, though less finely than a network that has seen photographs
(Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", compare by both).
"""

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from shared.networks.random_state import drawn_from
from shared.seeds import seed_of

_WIDTH = 32  # of each level
_LEVELS = 3
_CELLS = 2  # along each axis, so that features tell roughly where something is
_CLOUDS = 64  # images on which each level is scaled


class Features(nn.Module):
    """Numbers (B, D) within 0 and 1 of images (B, C, *S), by fixed random convolutions.

    Each level is brought to mean 0 and deviation 1 on clouds of noise, which are nobody's. A sigmoid at the
    end leaves no image a large say.

    Args:
        channels: C of the images.
        size: Their pixels along each axis, S.
        features: D.
        unit: Whether the values of images are within 0 and 1; otherwise about normal.
    """

    def __init__(self, channels: int, size: list[int], features: int, *, unit: bool) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, len(size)]
        self._levels = nn.ModuleList()
        self._pool = Pool[Pool.ADAPTIVEAVG, len(size)](_CELLS)
        with drawn_from(seed_of("features", channels, *size, features), torch.device("cpu")), torch.no_grad():
            values = _clouds(channels, size, unit=unit)
            for before in [channels, *[_WIDTH] * (_LEVELS - 1)]:
                self._levels.append(_scaled(conv(before, _WIDTH, 3, stride=2, padding=1), values))
                values = leaky_relu(self._levels[-1](values), 0.2)
            pooled = self._pool(values).flatten(1)
            self._last = _scaled(nn.Linear(pooled.shape[1], features), pooled)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, C, *S)."""
        for level in self._levels:
            images = leaky_relu(level(images), 0.2)
        found: Tensor = self._last(self._pool(images).flatten(1)).sigmoid()
        return found


def _clouds(channels: int, size: list[int], *, unit: bool) -> Tensor:
    """Return noise of all scales, each image with a brightness and a contrast of its own."""
    ones = [1] * len(size)
    total = torch.randn(_CLOUDS, channels, *ones)
    scale = 1
    while scale <= max(size):
        noise = torch.randn(_CLOUDS, channels, *(min(scale, pixels) for pixels in size))
        total = total + torch.rand(_CLOUDS, 1, *ones) * interpolate(noise, size)
        scale *= 2
    return total.sigmoid() if unit else total


def _scaled(layer: nn.Module, values: Tensor) -> nn.Module:
    """Let the outputs of a layer have mean 0 and deviation 1 over these inputs, each by itself."""
    outputs = layer(values).transpose(0, 1).flatten(1)
    mean, deviation = outputs.mean(1), outputs.std(1).clamp(min=1e-6)
    weight, bias = layer.parameters()
    weight.div_(deviation.view(-1, *[1] * (weight.dim() - 1)))
    bias.sub_(mean).div_(deviation)
    return layer
