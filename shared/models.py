"""The networks that a job may name, built with MONAI.

Every network is built with batch norm, which all of MONAI's classes can do, and then given the norm of the
job: some classes fix theirs (`AttentionUnet`, `VNet`, the blocks of `ResNet`), and the groups of a group norm
must fit each layer's features.
"""

import logging
import math
from dataclasses import dataclass
from functools import singledispatch
from typing import cast

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets import (
    AttentionUnet,
    DenseNet121,
    DynUNet,
    EfficientNetBN,
    ResNet,
    ResNetBlock,
    ResNetBottleneck,
    SegResNet,
    SwinUNETR,
    UNet,
    ViT,
    VNet,
)
from torch import Tensor, nn

from shared import networks
from shared.frozen import freeze_all_but
from shared.job import JobSpec
from shared.random_state import drawn_from

GROUPS = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ends:
    """What stands at the two ends of a network.

    Attributes:
        dimensions: 2 or 3.
        channels: Channels of an image.
        outputs: Logits, for an image or for each of its pixels.
        size: Pixels along each axis of what it is trained on.
    """

    dimensions: int
    channels: int
    outputs: int
    size: list[int]


def build_model(job: JobSpec, outputs: int, seed: int) -> nn.Module:
    """Return the job's network on the CPU, in float32, in training mode, with weights drawn from the seed.

    Under a private job nothing in it mixes images: what would is replaced, at the coordinator as at the
    sites, and the log says so.

    The same seed gives the same bits in every process; no global random state changes.

    Args:
        job: Names the network, its options and the images' shape.
        outputs: Logits (K) for an image, or for each of its pixels.
        seed: From `shared.seeds.seed_of`.

    Returns:
        A module from images (B, C, *S) to logits: (B, K) for classification, (B, K, *S) for segmentation.
        Its `divisor` is what must divide the sizes S. Only the job's `[update] parts` of it can be trained.

    Raises:
        JobError: The network has no part of a name in `[update] parts`.
    """
    ends = Ends(job.data.dimensions, job.data.channels, outputs, job.data.patch or job.data.size or [])
    with drawn_from(seed, torch.device("cpu")):
        model = _build(job.model, ends)
    norm = getattr(job.model, "norm", "batch")
    private = job.privacy.mechanism != "none"
    if private and norm == "batch":
        norm = "group"
        _log.info(
            "%s: batch norm is a figure of the patients without noise; a private job has group norm instead",
            job.job.name,
        )
    if norm != "batch":
        _replace_batch_norm(model, norm, ends.dimensions)
    if job.privacy.mechanism == "dp-sgd" and (changed := _work_out_of_place(model)):
        _log.info("%s: %d activations work out of place, for private training", job.job.name, changed)
    if job.update.parts is not None:
        freeze_all_but(model, job.update.parts)
    model.divisor = job.model.divisor  # type: ignore[assignment]  # tasks pad images to it
    return model


def _replace_batch_norm(model: nn.Module, norm: str, dimensions: int) -> None:
    batch_norm = Norm[Norm.BATCH, dimensions]
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, batch_norm):
                features = child.num_features
                if norm == "instance":
                    new = Norm[Norm.INSTANCE, dimensions](features, affine=True)
                else:
                    new = nn.GroupNorm(math.gcd(GROUPS, features), features)
                setattr(parent, name, new)


def _work_out_of_place(model: nn.Module) -> int:
    """Let activations keep their input, which Opacus' hooks look at; returns how many were changed."""
    in_place = [module for module in model.modules() if getattr(module, "inplace", False)]
    for module in in_place:
        module.inplace = False  # type: ignore[assignment]
    return len(in_place)


@singledispatch
def _build(options: networks.NetworkOptions, ends: Ends) -> nn.Module:
    raise NotImplementedError(type(options).__name__)


class CNN(nn.Module):
    """Convolution, norm, ReLU and pooling at each level, then the mean over positions (LeCun et al. 1998).

    The mean in place of LeNet's dense layers lets images have any size. Shapes: (B, C, *S) to (B, K).
    """

    def __init__(self, ends: Ends, features: list[int], dropout: float) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, ends.dimensions], Norm[Norm.BATCH, ends.dimensions]
        pool = Pool[Pool.MAX, ends.dimensions]
        levels: list[nn.Module] = []
        for before, after in zip([ends.channels, *features], features, strict=False):
            levels += [conv(before, after, 3, padding=1), norm(after), nn.ReLU(), pool(2, ceil_mode=True)]
        self.levels = nn.Sequential(*levels)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features[-1], ends.outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, *S)."""
        return cast(Tensor, self.head(self.levels(images).flatten(2).mean(2)))


@_build.register
def _(options: networks.CNNOptions, ends: Ends) -> nn.Module:
    return CNN(ends, options.channels, options.dropout)


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


@_build.register
def _(options: networks.ResNetOptions, ends: Ends) -> nn.Module:
    small = options.name == "resnet18"
    model = ResNet(
        Block if small else Bottleneck,
        [2, 2, 2, 2] if small else [3, 4, 6, 3],
        [64, 128, 256, 512],
        spatial_dims=ends.dimensions,
        n_input_channels=ends.channels,
        conv1_t_stride=options.stem_stride,
        shortcut_type="B",  # MONAI's resnet18 takes 'A', whose shortcuts stop the gradient
        bias_downsample=False,
        num_classes=ends.outputs,
    )
    model.fc = nn.Sequential(nn.Dropout(options.dropout), model.fc)
    return model


@_build.register
def _(options: networks.DenseNet121Options, ends: Ends) -> nn.Module:
    return DenseNet121(ends.dimensions, ends.channels, ends.outputs, dropout_prob=options.dropout)


@_build.register
def _(options: networks.EfficientNetB0Options, ends: Ends) -> nn.Module:
    model = EfficientNetBN(
        options.name,
        pretrained=False,
        spatial_dims=ends.dimensions,
        in_channels=ends.channels,
        num_classes=ends.outputs,
        norm="batch",  # the published momentum of 0.01 would follow a round of few steps too slowly
    )
    model._dropout.p = options.dropout
    return model


class FirstOutput(nn.Module):
    """A network's logits without the hidden states that it returns beside them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the first output of the network."""
        return cast(Tensor, self.network(images)[0])


@_build.register
def _(options: networks.ViTOptions, ends: Ends) -> nn.Module:
    model = ViT(
        ends.channels,
        ends.size,
        options.patch,
        hidden_size=options.features,
        mlp_dim=4 * options.features,
        num_layers=options.layers,
        num_heads=options.heads,
        classification=True,
        num_classes=ends.outputs,
        dropout_rate=options.dropout,
        spatial_dims=ends.dimensions,
        post_activation="none",  # logits, where MONAI would put them through tanh
        qkv_bias=True,
    )
    for block in model.blocks:
        del block.norm_cross_attn  # never used, and would travel in every round
    return FirstOutput(model)


@_build.register
def _(options: networks.UNetOptions, ends: Ends) -> nn.Module:
    return UNet(
        ends.dimensions,
        ends.channels,
        ends.outputs,
        options.channels,
        strides=[2] * (len(options.channels) - 1),
        num_res_units=options.num_res_units,
        norm="batch",
        dropout=options.dropout,
    )


@_build.register
def _(options: networks.DynUNetOptions, ends: Ends) -> nn.Module:
    strides = [1] + [2] * (len(options.channels) - 1)
    model = DynUNet(
        ends.dimensions,
        ends.channels,
        ends.outputs,
        kernel_size=[3] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=options.channels,
        dropout=options.dropout or None,
        norm_name="batch",
        res_block=options.residual,
    )
    # MONAI holds each block a second time, under `skip_layers`, from where it is run; Opacus would hook both.
    del model.input_block, model.downsamples, model.bottleneck, model.upsamples
    return model


@_build.register
def _(options: networks.SegResNetOptions, ends: Ends) -> nn.Module:
    return SegResNet(
        ends.dimensions,
        options.features,
        ends.channels,
        ends.outputs,
        dropout_prob=options.dropout or None,
        norm="batch",
    )


@_build.register
def _(options: networks.AttentionUNetOptions, ends: Ends) -> nn.Module:
    strides = [2] * (len(options.channels) - 1)
    return AttentionUnet(
        ends.dimensions, ends.channels, ends.outputs, options.channels, strides, dropout=options.dropout
    )


@_build.register
def _(options: networks.SwinUNETROptions, ends: Ends) -> nn.Module:
    return SwinUNETR(
        ends.channels,
        ends.outputs,
        feature_size=options.features,
        norm_name="batch",
        drop_rate=options.dropout,
        spatial_dims=ends.dimensions,
    )


@_build.register
def _(options: networks.VNetOptions, ends: Ends) -> nn.Module:
    model = VNet(ends.dimensions, ends.channels, ends.outputs, dropout_dim=ends.dimensions)
    for module in model.modules():
        if isinstance(module, nn.Dropout2d | nn.Dropout3d):
            module.p = options.dropout  # MONAI's arguments miss the two upper levels
    return model
