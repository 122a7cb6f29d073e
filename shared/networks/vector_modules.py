"""Classic networks that give a vector per image, and that MONAI has not; loads PyTorch and MONAI."""

from typing import cast

import torch
from monai.networks.blocks.squeeze_and_excitation import (
    SEBlock,
    SEResNetBottleneck,
    SEResNeXtBottleneck,
)
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets.senet import SENet
from torch import Tensor, nn

from shared.networks.options import Ends


def convolved(ends: Ends, before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU, which keep the size but for the stride."""
    conv, norm = Conv[Conv.CONV, ends.dimensions], Norm[Norm.BATCH, ends.dimensions]
    layer = conv(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, norm(after), nn.ReLU())


class PlainNetwork(nn.Module):
    """Convolutions and pooling one after the other, the mean over positions, and dense layers.

    Shapes: (B, C, *S) to (B, K).

    Args:
        ends: Of the network.
        layers: (features, kernel, stride) of a convolution, or None for pooling.
        pool: Pixels that are pooled along each axis, in steps of 2.
        hidden: Numbers of each of the two dense layers.
        dropout: In front of each dense layer.
    """

    def __init__(
        self, ends: Ends, layers: list[tuple[int, int, int] | None], pool: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        pooling = Pool[Pool.MAX, ends.dimensions]
        modules: list[nn.Module] = []
        before = ends.channels
        for layer in layers:
            if layer is None:
                modules.append(pooling(pool, stride=2, padding=(pool - 1) // 2, ceil_mode=pool == 2))
                continue
            modules.append(convolved(ends, before, *layer))
            before = layer[0]
        self.levels = nn.Sequential(*modules)
        head: list[nn.Module] = []
        for numbers in (hidden, hidden):
            head += [nn.Dropout(dropout), nn.Linear(before, numbers), nn.ReLU()]
            before = numbers
        self.head = nn.Sequential(*head, nn.Linear(before, ends.outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, *S)."""
        return cast(Tensor, self.head(self.levels(images).flatten(2).mean(2)))


class InceptionBlock(nn.Module):
    """Convolutions of 1, 3 and 5 pixels and pooling beside each other (Szegedy et al. 2015, figure 2b).

    Args:
        ends: Of the network.
        before: Features that come in.
        features: Of the branches: 1; before 3 and 3; before 5 and 5; after pooling.
    """

    def __init__(self, ends: Ends, before: int, features: list[int]) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = features
        pool = Pool[Pool.MAX, ends.dimensions](3, stride=1, padding=1)
        self.branches = nn.ModuleList(
            [
                convolved(ends, before, one, 1),
                nn.Sequential(convolved(ends, before, before_three, 1), convolved(ends, before_three, three)),
                nn.Sequential(convolved(ends, before, before_five, 1), convolved(ends, before_five, five, 5)),
                nn.Sequential(pool, convolved(ends, before, pooled, 1)),
            ]
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (B, F, *S) of all branches."""
        return torch.cat([branch(images) for branch in self.branches], dim=1)


INCEPTION = [  # table 1 of the paper, by stage; a stage begins with pooling
    [[64, 96, 128, 16, 32, 32], [128, 128, 192, 32, 96, 64]],
    [
        [192, 96, 208, 16, 48, 64],
        [160, 112, 224, 24, 64, 64],
        [128, 128, 256, 24, 64, 64],
        [112, 144, 288, 32, 64, 64],
        [256, 160, 320, 32, 128, 128],
    ],
    [[256, 160, 320, 32, 128, 128], [384, 192, 384, 48, 128, 128]],
]


def inception(ends: Ends, width: float, dropout: float) -> nn.Module:
    """Return a GoogLeNet with batch norm and without the two auxiliary heads.

    Args:
        ends: Of the network.
        width: Factor on the published features.
        dropout: In front of the last layer.
    """

    def scaled(features: int) -> int:
        return max(1, round(features * width))

    pool = Pool[Pool.MAX, ends.dimensions]
    modules: list[nn.Module] = [
        convolved(ends, ends.channels, scaled(64), 7, 2),
        pool(3, stride=2, padding=1),
        convolved(ends, scaled(64), scaled(64), 1),
        convolved(ends, scaled(64), scaled(192)),
    ]
    before = scaled(192)
    for stage in INCEPTION:
        modules.append(pool(3, stride=2, padding=1))
        for features in stage:
            branches = [scaled(number) for number in features]
            modules.append(InceptionBlock(ends, before, branches))
            before = branches[0] + branches[2] + branches[4] + branches[5]
    mean = Pool[Pool.ADAPTIVEAVG, ends.dimensions](1)
    return nn.Sequential(*modules, mean, nn.Flatten(), nn.Dropout(dropout), nn.Linear(before, ends.outputs))


class _OutOfPlace(SEBlock):
    """MONAI's block, adding out of place: Opacus can't follow the addition in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, C, *S)."""
        shortcut = x if self.project is None else self.project(x)
        out = self.se_layer(self.conv3(self.conv2(self.conv1(x))))
        return cast(Tensor, self.act(out + shortcut))


class ResNetBlock(_OutOfPlace, SEResNetBottleneck):
    """Bottleneck of an SE-ResNet."""


class ResNeXtBlock(_OutOfPlace, SEResNeXtBottleneck):
    """Bottleneck of an SE-ResNeXt."""


def squeezed(ends: Ends, layers: list[int], groups: int, dropout: float, *, attention: bool) -> nn.Module:
    """Return an SE-ResNet (one group) or SE-ResNeXt.

    Args:
        ends: Of the network.
        layers: Blocks of each of the four stages.
        groups: Of the middle convolution of each block.
        dropout: In front of the last layer.
        attention: Whether blocks weigh their channels; without it the network is the ResNeXt itself.
    """
    model = SENet(
        ends.dimensions,
        ends.channels,
        ResNetBlock if groups == 1 else ResNeXtBlock,
        layers,
        groups,
        reduction=16,
        dropout_prob=dropout,
        inplanes=64,
        downsample_kernel_size=1,
        input_3x3=False,
        num_classes=ends.outputs,
    )
    if not attention:
        for module in model.modules():
            if isinstance(module, SEBlock):
                module.se_layer = nn.Identity()
    return model


class CapsuleNetwork(nn.Module):
    """Capsules with routing by agreement (Sabour et al. 2017, section 4 and procedure 1).

    What a capsule says of a class is learnt for each type of capsule, not for each position, and the mean
    over positions is taken, not the sum: so images may have any size. Shapes: (B, C, *S) to (B, K).

    Args:
        ends: Of the network.
        features: Of the first convolution.
        types: Of primary capsules, each of 8 numbers.
        kernel: Pixels of both convolutions along each axis.
        routings: Times that capsules agree.
        dropout: On the first convolution's features.
    """

    PRIMARY, CLASS = 8, 16  # numbers of a capsule

    def __init__(
        self, ends: Ends, features: int, *, types: int, kernel: int, routings: int, dropout: float
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, ends.dimensions]
        self.first = nn.Sequential(
            conv(ends.channels, features, kernel, padding=kernel // 2), nn.ReLU(), nn.Dropout(dropout)
        )
        self.primary = conv(features, types * self.PRIMARY, kernel, stride=2, padding=kernel // 2)
        self.says = nn.Conv1d(
            types * self.PRIMARY, types * ends.outputs * self.CLASS, 1, groups=types, bias=False
        )
        self.types, self.outputs, self.routings = types, ends.outputs, routings

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K): their sigmoid is the length of each class's capsule."""
        primary = self.primary(self.first(images)).flatten(2)
        batch, _, positions = primary.shape
        capsules = squash(primary.view(batch, self.types, self.PRIMARY, positions), dim=2)
        said = self.says(capsules.flatten(1, 2)).view(batch, self.types, self.outputs, self.CLASS, positions)
        length = 1e-4 + (1 - 2e-4) * self._agreed(said).norm(dim=-1)
        return length.log() - (1 - length).log()

    def _agreed(self, said: Tensor) -> Tensor:
        """Return the capsules of the classes (B, K, 16), after routing."""
        agreement = torch.zeros_like(said[:, :, :, :1])
        for routing in range(self.routings):
            shares = agreement.softmax(dim=2)
            capsules = squash((shares * said).sum(dim=1).mean(dim=3), dim=2)
            if routing < self.routings - 1:
                agreed = (said * capsules[:, None, :, :, None]).sum(dim=3, keepdim=True)
                agreement = agreement + agreed.detach()
        return capsules


def squash(vectors: Tensor, dim: int) -> Tensor:
    """Shorten vectors to a length below 1, and keep their direction (equation 1)."""
    squared = vectors.square().sum(dim=dim, keepdim=True)
    return vectors * (squared / (1 + squared) / (squared + 1e-9).sqrt())
