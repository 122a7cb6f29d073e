"""Modules of networks that MONAI has not, or not as private training needs them; loads PyTorch and MONAI."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets import ResNet, ResNetBlock, ResNetBottleneck
from torch import Tensor, nn

from shared.networks.options import Ends

_FIRST = 1e-3  # deviation of weights drawn near 0


class CNN(nn.Module):
    """Convolution, norm, ReLU and pooling at each level, then the mean over positions (LeCun et al. 1998).

    The mean in place of LeNet's dense layers lets images have any size. Shapes: (B, C, *S) to (B, K).
    """

    def __init__(self, ends: Ends, features: list[int], dropout: float) -> None:
        super().__init__()
        self.levels = cnn_levels(ends, features)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features[-1], ends.outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, *S)."""
        return cast(Tensor, self.head(self.levels(images).flatten(2).mean(2)))


class DenseHead(nn.Module):
    """A dense layer on the deepest features of one of MONAI's networks of registration, drawn near 0.

    Args:
        inputs: Features times positions of the deepest level.
        outputs: Numbers K.
        dropout: In front of the layer.
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, outputs))
        nn.init.normal_(cast(Tensor, self.dense[1].weight), std=_FIRST)
        nn.init.zeros_(cast(Tensor, self.dense[1].bias))

    def forward(self, levels: Sequence[Tensor], image_size: object) -> Tensor:
        """Return (B, K) of features (B, F, *S), the first of `levels`."""
        return cast(Tensor, self.dense(levels[0].flatten(1)))


class DnCNN(nn.Module):
    """Convolution and ReLU, then convolution, norm and ReLU, then a convolution (Zhang et al. 2017).

    Shapes: (B, C, *S) to (B, K, *S).
    """

    def __init__(self, ends: Ends, features: int, layers: int, dropout: float) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, ends.dimensions], Norm[Norm.BATCH, ends.dimensions]
        inner: list[nn.Module] = [conv(ends.channels, features, 3, padding=1), nn.ReLU()]
        for _ in range(layers - 2):
            inner += [conv(features, features, 3, padding=1), norm(features), nn.ReLU(), nn.Dropout(dropout)]
        self.inner = nn.Sequential(*inner)
        self.last = conv(features, ends.outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the map (B, K, *S) of images (B, C, *S)."""
        return cast(Tensor, self.last(self.inner(images)))


def cnn_levels(ends: Ends, features: list[int]) -> nn.Sequential:
    """Return convolution, norm, ReLU and pooling for each level."""
    conv, norm = Conv[Conv.CONV, ends.dimensions], Norm[Norm.BATCH, ends.dimensions]
    pool = Pool[Pool.MAX, ends.dimensions]
    levels: list[nn.Module] = []
    for before, after in zip([ends.channels, *features], features, strict=False):
        levels += [conv(before, after, 3, padding=1), norm(after), nn.ReLU(), pool(2, ceil_mode=True)]
    return nn.Sequential(*levels)


class Generator(nn.Module):
    """A linear layer to a small map, then for each level: double, convolve, norm, ReLU.

    Shapes: (B, N) to (B, C, *S).
    """

    def __init__(self, ends: Ends, features: list[int], dropout: float) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, ends.dimensions], Norm[Norm.BATCH, ends.dimensions]
        self.start = [features[-1], *(pixels // 2 ** len(features) for pixels in ends.size)]
        self.linear = nn.Linear(ends.channels, math.prod(self.start))
        levels: list[nn.Module] = []
        for before, after in pairwise(reversed([features[0], *features])):
            levels += [nn.Upsample(scale_factor=2), conv(before, after, 3, padding=1), norm(after), nn.ReLU()]
            levels += [nn.Dropout(dropout)]
        self.levels = nn.Sequential(*levels, conv(features[0], ends.outputs, 3, padding=1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return images (B, C, *S), of any range, of vectors (B, N)."""
        return cast(Tensor, self.levels(self.linear(vectors).unflatten(1, self.start)))


class Block(ResNetBlock):
    """MONAI's basic block, adding out of place: Opacus can't follow the addition in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, *S)."""
        out = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        return cast(Tensor, self.act(out + (x if self.downsample is None else self.downsample(x))))


class Bottleneck(ResNetBottleneck):
    """MONAI's bottleneck block, adding out of place."""

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 4 C, *S)."""
        out = self.act(self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))
        out = self.bn3(self.conv3(out))
        return cast(Tensor, self.act(out + (x if self.downsample is None else self.downsample(x))))


def residual_network(name: str, ends: Ends, *, stem_stride: int, dropout: float) -> nn.Module:
    """Return a `resnet18` or `resnet50`."""
    small = name == "resnet18"
    model = ResNet(
        Block if small else Bottleneck,
        [2, 2, 2, 2] if small else [3, 4, 6, 3],
        [64, 128, 256, 512],
        spatial_dims=ends.dimensions,
        n_input_channels=ends.channels,
        conv1_t_stride=stem_stride,
        shortcut_type="B",  # MONAI's resnet18 takes 'A', whose shortcuts stop the gradient
        bias_downsample=False,
        num_classes=ends.outputs,
    )
    model.fc = nn.Sequential(nn.Dropout(dropout), model.fc)
    return model


class FirstOutput(nn.Module):
    """A network's logits without the hidden states that it returns beside them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the first output of the network."""
        return cast(Tensor, self.network(images)[0])


class Timed(nn.Module):
    """A network of diffusion that reads how noisy an image is off a channel of it.

    Args:
        network: Takes images and times, from 0 to 1000.
        place: Of the channel, whose pixels are all alike: from 0 to 1.
    """

    def __init__(self, network: nn.Module, place: int) -> None:
        super().__init__()
        self.network = network
        self._place = place

    def forward(self, images: Tensor) -> Tensor:
        """Return what is said of images (B, C, *S) for each pixel."""
        times = 1000 * images[:, self._place].flatten(1)[:, 0]
        rest = torch.cat([images[:, : self._place], images[:, self._place + 1 :]], dim=1)
        return cast(Tensor, self.network(rest, times))
