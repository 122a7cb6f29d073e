"""The modules of a RetinaNet: an encoder with a pyramid of features, heads, and where the anchors are."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise, product

import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.networks.layers.factories import Conv
from monai.networks.layers.factories import Norm as Norms
from torch import Tensor, nn

from shared.networks.options import Ends

_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # of anchors at each place (Lin et al., ICCV 2017, section 4)
_RATIOS = (0.5, 1.0, 2.0)  # of height and width, in pictures; in volumes anchors are cubes


class Pyramid(nn.Module):
    """Two convolutions a level, each but the first level halving, and a pyramid of the deepest levels.

    Shapes: (B, C, *S) to a list of (B, features, *S / stride), the finest first.
    """

    def __init__(self, ends: Ends, channels: Sequence[int], levels: int, features: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, ends.dimensions], Norms[Norms.BATCH, ends.dimensions]
        self.blocks = nn.ModuleList()
        for number, (before, after) in enumerate(pairwise([ends.channels, *channels])):
            first = conv(before, after, 3, stride=1 + (number > 0), padding=1)
            second = conv(after, after, 3, padding=1)
            self.blocks.append(nn.Sequential(first, norm(after), nn.ReLU(), second, norm(after), nn.ReLU()))
        self.out_channels, self._levels = features, levels
        self.pyramid = FeaturePyramidNetwork(ends.dimensions, list(channels[-levels:]), features)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of each level."""
        found: list[Tensor] = []
        for block in self.blocks:
            images = block(images)
            found.append(images)
        named = OrderedDict((str(number), own) for number, own in enumerate(found[-self._levels :]))
        return list(self.pyramid(named).values())


class AnchoredRetinaNet(nn.Module):
    """RetinaNet with its anchors. Shapes: (B, C, *S) to (B, A, K + 2 D); see `anchors`.

    Of each anchor it gives a logit for each class, where the object's centre is from the anchor's, over its
    size, and the logarithm of its size over the anchor's, along each axis.
    """

    def __init__(
        self, ends: Ends, channels: Sequence[int], levels: int, features: int, anchor_size: float
    ) -> None:
        super().__init__()
        axes = ends.dimensions
        ratios = _RATIOS if axes == 2 else (1.0,)
        shapes = [
            (math.sqrt(ratio), 1 / math.sqrt(ratio)) if axes == 2 else (1.0,) * axes for ratio in ratios
        ]
        sides = torch.tensor([[scale * side for side in shape] for shape, scale in product(shapes, _SCALES)])
        self._sides = anchor_size * sides  # (anchors at a place, D), in pixels of a level
        self._strides = [2**number for number in range(len(channels))][-levels:]
        self._classes = ends.outputs - 2 * axes
        pyramid = Pyramid(ends, channels, levels, features)
        self.net = RetinaNet(axes, self._classes, len(sides), pyramid)

    def forward(self, images: Tensor) -> Tensor:
        """Return what each anchor gives."""
        found = self.net(images)
        axes = images.ndim - 2
        logits = [_listed(own, self._classes) for own in found[self.net.cls_key]]
        places = [_listed(own, 2 * axes) for own in found[self.net.box_reg_key]]
        return torch.cat([torch.cat(logits, dim=1), torch.cat(places, dim=1)], dim=2)

    def anchors(self, size: Sequence[int]) -> Tensor:
        """Return the centre and the size of each anchor (A, 2 D), in pixels of an image (*S)."""
        levels = []
        for stride in self._strides:
            axes = [(torch.arange(-(-length // stride)) + 0.5) * stride for length in size]
            places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 1, len(size))
            sides = self._sides * stride
            shape = (len(places), *sides.shape)
            levels.append(torch.cat([places.expand(shape), sides.expand(shape)], dim=-1).flatten(0, 1))
        return torch.cat(levels)


def _listed(maps: Tensor, numbers: int) -> Tensor:
    """Return maps (B, anchors x N, *S) as (B, places x anchors, N)."""
    own = maps.unflatten(1, (-1, numbers)).flatten(3)  # (B, anchors, N, places)
    return own.permute(0, 3, 1, 2).flatten(1, 2)
