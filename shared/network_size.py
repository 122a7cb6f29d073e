"""About how large a job's network is, from its options alone: told before anything is built, without PyTorch.

Right to a third; `shared.model_size` counts exactly.
"""

import math
from dataclasses import dataclass
from functools import singledispatch
from itertools import pairwise

from shared import networks

LARGEST_MODEL_MB = 2000.0
"""Largest model of any job, in MB (10^6 bytes) of float32 numbers: as many travel each way, each round."""

_FIXED = {  # millions of numbers in 2D and 3D
    "resnet18": (11.2, 33.2),
    "resnet50": (23.5, 46.2),
    "densenet121": (7.0, 11.2),
    "efficientnet-b0": (4.0, 4.7),
    "vnet": (9.4, 45.6),
}


@dataclass(frozen=True)
class Images:
    """What a network is built for.

    Attributes:
        dimensions: 2 or 3.
        channels: Of an image.
        outputs: Of the network.
        size: Pixels along each axis of what it is trained on.
    """

    dimensions: int
    channels: int
    outputs: int
    size: list[int]

    @property
    def kernel(self) -> int:
        """Numbers of a convolution of 3 pixels an axis, from one channel to one."""
        return int(3**self.dimensions)


def about_megabytes(options: networks.NetworkOptions, images: Images) -> float:
    """Return about how many MB (10^6 bytes) the float32 numbers of a network take."""
    return _numbers(options, images) * 4 / 1e6


@singledispatch
def _numbers(options: networks.NetworkOptions, images: Images) -> float:
    return _FIXED[options.name][images.dimensions - 2] * 1e6  # type: ignore[attr-defined]


@_numbers.register
def _(options: networks.CNNOptions, images: Images) -> float:
    levels = [images.channels, *options.channels]
    return images.kernel * sum(a * b for a, b in pairwise(levels)) + levels[-1] * images.outputs


@_numbers.register
def _(options: networks.ViTOptions, images: Images) -> float:
    tokens = math.prod(pixels / options.patch for pixels in images.size)
    embedding = options.patch**images.dimensions * images.channels + tokens
    return options.features * (12 * options.features * options.layers + embedding)


@_numbers.register
def _(options: networks.UNetOptions, images: Images) -> float:
    units, levels = options.num_res_units, [images.channels, *options.channels]
    down = sum(a * b + max(units - 1, 0) * b * b for a, b in pairwise(levels))
    shortcuts = sum(a * b for a, b in pairwise(levels[:-1])) if units else 0  # the deepest is of one pixel
    joined = [*(2 * a for a in options.channels[:-2]), options.channels[-2] + options.channels[-1]]
    out = [images.outputs, *options.channels[:-2]]
    up = sum(a * b + (units > 0) * b * b for a, b in zip(joined, out, strict=True))
    return images.kernel * (down + shortcuts + up)


@_numbers.register
def _(options: networks.DynUNetOptions, images: Images) -> float:
    levels = [images.channels, *options.channels]
    down = sum(a * b + b * b for a, b in pairwise(levels))
    up = sum(3 * a * a for a in options.channels[:-1])
    joints = sum(a * b for a, b in pairwise(options.channels))
    return images.kernel * (down + up) + 2**images.dimensions * joints


@_numbers.register
def _(options: networks.AttentionUNetOptions, images: Images) -> float:
    levels = [images.channels, *options.channels]
    down = sum(a * b + b * b for a, b in pairwise(levels))
    up = sum(a * b + 2 * a * a for a, b in pairwise(options.channels))
    return images.kernel * (down + up)


@_numbers.register
def _(options: networks.SegResNetOptions, images: Images) -> float:
    return 684 * images.kernel * options.features**2


@_numbers.register
def _(options: networks.SwinUNETROptions, images: Images) -> float:
    return (11_000 if images.dimensions == 2 else 27_000) * options.features**2
