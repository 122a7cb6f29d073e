"""The modules of EfficientNet-Lite0; loads PyTorch."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.encoder import Encoder
from shared.networks.options import Ends

FEATURES = 1280
_CONSTANT = 0.2
_STAGES = (  # repeats, kernel, stride, expansion, features
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EvenConv2d(nn.Conv2d):
    """A convolution that gives one position for every `stride` pixels begun, as TensorFlow pads for it.

    Where the padding is odd, the last row and column have one more.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (PyTorch's name)
        """Return (B, K, ceil(H / stride), ceil(W / stride))."""
        padding: list[int] = []
        for pixels, kernel, stride in zip(input.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            lacking = max((-(-pixels // stride) - 1) * stride + kernel - pixels, 0)
            padding += [lacking // 2, lacking - lacking // 2]
        return super().forward(functional.pad(input, padding))


class InvertedBottleneck(nn.Module):
    """Widen, convolve each feature by itself, narrow (Sandler et al. 2018), with ReLU6 between."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        layers = [] if expansion == 1 else [*_normed(before, wide), nn.ReLU6()]
        layers += [*_normed(wide, wide, kernel, stride, groups=wide), nn.ReLU6(), *_normed(wide, after)]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and before == after

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, K, *S) of (B, C, *S)."""
        features: Tensor = self.layers(images)
        return images + features if self.adds else features


def _normed(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    kind, padding = (nn.Conv2d, kernel // 2) if stride == 1 else (EvenConv2d, 0)
    convolution = kind(before, after, kernel, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(after, eps=1e-3)]


def lite_encoder(channels: int) -> Encoder:
    """Return the layers from images (B, C, H, W) to features (B, 1280)."""
    layers, before = [*_normed(channels, 32, 3, 2), nn.ReLU6()], 32
    for repeats, kernel, stride, expansion, after in _STAGES:
        for step in (stride, *[1] * (repeats - 1)):
            layers.append(InvertedBottleneck(before, after, kernel, step, expansion))
            before = after
    layers += [*_normed(before, FEATURES), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Encoder(*layers)


class UnitFeatures(nn.Module):
    """Features (B, N) centred and scaled to length 1, image by image, with a constant beside them (B, N + 1).

    So the gradient of a linear layer behind it has nearly the same norm for every image that the layer gets
    equally wrong, and clipping bends none of them. The constant takes the place of the layer's bias.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, N + 1) of features (B, N)."""
        centred = features - features.mean(1, keepdim=True)
        constant = torch.full_like(features[:, :1], _CONSTANT)  # exported for any number of images
        return torch.cat([functional.normalize(centred, dim=1), constant], dim=1)


class EfficientNetLite0(nn.Module):
    """The encoder, dropout and a linear layer. Shapes: (B, C, H, W) to (B, K)."""

    def __init__(self, ends: Ends, dropout: float, *, unit_features: bool, unit_range: bool) -> None:
        super().__init__()
        self.unit_range = unit_range
        self.encoder = lite_encoder(ends.channels)
        last = nn.Linear(FEATURES + unit_features, ends.outputs, bias=not unit_features)
        scaled = [UnitFeatures()] if unit_features else []
        self.head = nn.Sequential(*scaled, nn.Dropout(dropout), last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        centred = 2 * images - 1 if self.unit_range else images
        return cast(Tensor, self.head(self.encoder(centred)))
