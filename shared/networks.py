"""What a job may say about its network: one table of options a network, checked without loading PyTorch.

The networks themselves are built in `shared.models`, which imports PyTorch and MONAI.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from shared.table import Table

Norm = Annotated[
    Literal["instance", "batch", "group"],
    Field(
        description="Normalisation. `batch` mixes patients and keeps statistics that differ from hospital to "
        "hospital; `instance` and `group` (8 groups, or fewer where the features ask for it) do neither."
    ),
]
Levels = Annotated[
    list[Annotated[int, Field(ge=2, le=2048)]],
    Field(max_length=8, description="Features a level; each level halves the image."),
]


class NetworkOptions(Table):
    """Options that every network has, and what every network says about itself.

    Attributes:
        tasks: Tasks that it serves.
        dimensions: 2 for images, 3 for volumes.
        obstacle: Why it can't be trained with differential privacy; None where it can: Opacus gets each
            sample's gradient, once batch norm is replaced and activations work out of place.
        input_channels: Numbers of channels that an image may have; None for any.
    """

    tasks: ClassVar[frozenset[str]]
    dimensions: ClassVar[frozenset[int]] = frozenset({2, 3})
    obstacle: ClassVar[str | None] = None
    input_channels: ClassVar[frozenset[int] | None] = None

    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Share of activations dropped in training.")

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels along an axis that become one position at the deepest level."""

    @property
    def divisor(self) -> int:
        """Number that must divide the image's size along each axis."""
        return 1

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return what the network needs and images (or patches) of this size in pixels lack, or None.

        Below two positions at the deepest level, a normalisation has nothing to normalise over and fails.
        """
        if math.prod(-(-pixels // self.stride) for pixels in size) < 2:
            return f"at least {self.stride + 1} pixels along one axis"
        return None


class ClassificationOptions(NetworkOptions):
    """A network that gives one score a class for an image."""

    tasks = frozenset({"classification"})


class RoundingDownOptions(ClassificationOptions):
    """A network whose levels drop the pixel that is left over, where others keep it."""

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return what images of this size lack, or None."""
        if min(size) < self.stride:
            return f"at least {self.stride} pixels along each axis"
        if max(size) < 2 * self.stride:
            return f"at least {2 * self.stride} pixels along one axis"
        return None


class SegmentationOptions(NetworkOptions):
    """A network that gives one score a structure for each pixel."""

    tasks = frozenset({"segmentation"})

    @property
    def divisor(self) -> int:
        """Every level must halve evenly, or the halves of the network don't meet; the task pads for it."""
        return self.stride


class CNNOptions(ClassificationOptions):
    """Small LeNet-like CNN (LeCun et al. 1998); classification, 2D and 3D."""

    name: Literal["cnn"]
    channels: Levels = Field([16, 32, 64], min_length=1)
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Each level halves."""
        return 2 ** len(self.channels)


class ResNetOptions(ClassificationOptions):
    """Residual network (He et al. 2016; MONAI `ResNet`); classification, 2D and 3D."""

    name: Literal["resnet18", "resnet50"]
    stem_stride: Literal[1, 2] = Field(
        1, description="Step of the first convolution: 1 for images of 64 to 128 pixels, 2 for larger ones."
    )
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem's convolution, its pooling and three stages."""
        return 16 * self.stem_stride


class DenseNet121Options(RoundingDownOptions):
    """Densely connected network (Huang et al. 2017; MONAI `DenseNet121`); classification, 2D and 3D."""

    name: Literal["densenet121"]
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem's convolution, its pooling and three transitions."""
        return 32


class EfficientNetB0Options(RoundingDownOptions):
    """EfficientNet (Tan and Le 2019; MONAI `EfficientNetBN`); classification, 2D and 3D."""

    name: Literal["efficientnet-b0"]
    dropout: float = Field(0.2, ge=0.0, lt=1.0, description="Share of the last features dropped in training.")
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem and four stages."""
        return 32


class ViTOptions(ClassificationOptions):
    """Vision transformer (Dosovitskiy et al. 2021; MONAI `ViT`); classification of images of one size."""

    obstacle = "its class token and positions belong to no layer, and Opacus sees layers only"

    name: Literal["vit"]
    patch: int = Field(16, ge=2, le=64, description="Pixels (voxels) of a token's patch along each axis.")
    features: int = Field(192, ge=8, le=2048, description="Features of a token.")
    layers: int = Field(12, ge=1, le=48, description="Transformer blocks.")
    heads: int = Field(3, ge=1, le=64, description="Attention heads; a divisor of `features`.")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.features % self.heads:
            raise ValueError(f"heads: {self.heads} heads can't share {self.features} features evenly")
        return self

    @property
    def stride(self) -> int:
        """A patch becomes a token."""
        return self.patch

    @property
    def divisor(self) -> int:
        """Patches tile the image."""
        return self.patch

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return what images of this size lack, or None."""
        if all(pixels % self.patch == 0 for pixels in size):
            return None
        nearest = [max(self.patch, round(pixels / self.patch) * self.patch) for pixels in size]
        return f"multiples of {self.patch} along each axis, such as {nearest}"


class UNetOptions(SegmentationOptions):
    """U-Net with residual units (Kerfoot et al. 2019; MONAI `UNet`); segmentation, 2D and 3D."""

    name: Literal["unet"]
    channels: Levels = Field([16, 32, 64, 128, 256], min_length=2)
    num_res_units: int = Field(2, ge=0, le=8, description="Residual units a level; 0 for plain convolutions.")
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)


class DynUNetOptions(SegmentationOptions):
    """The U-Net of nnU-Net (Isensee et al. 2021; MONAI `DynUNet`); segmentation, 2D and 3D."""

    name: Literal["dynunet"]
    channels: Levels = Field([32, 64, 128, 256, 320], min_length=3)
    residual: bool = Field(False, description="Residual blocks instead of plain ones.")
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)


class SegResNetOptions(SegmentationOptions):
    """Residual encoder and decoder (Myronenko 2018; MONAI `SegResNet`); segmentation, 2D and 3D."""

    obstacle = "its blocks add in place, where Opacus can't follow"

    name: Literal["segresnet"]
    features: int = Field(16, ge=2, le=256, description="Features of the first of four levels; each doubles.")
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Three of the four levels halve."""
        return 8


class AttentionUNetOptions(SegmentationOptions):
    """U-Net with attention gates (Oktay et al. 2018; MONAI `AttentionUnet`); segmentation, 2D and 3D."""

    name: Literal["attention-unet"]
    channels: Levels = Field([16, 32, 64, 128, 256], min_length=2)
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)


class SwinUNETROptions(SegmentationOptions):
    """Swin transformer as a U-Net (Hatamizadeh et al. 2022; MONAI `SwinUNETR`); segmentation, 2D and 3D."""

    obstacle = "its position biases belong to no layer, and Opacus sees layers only"

    name: Literal["swin-unetr"]
    features: int = Field(
        24, ge=12, le=192, multiple_of=12, description="Features of the first level; each doubles."
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Patches of 2 pixels, then four stages that halve."""
        return 32


class VNetOptions(SegmentationOptions):
    """V-Net (Milletari et al. 2016; MONAI `VNet`); segmentation, 2D and 3D."""

    input_channels = frozenset({1, 2, 4, 8, 16})  # the first block repeats the image to 16 features

    name: Literal["vnet"]
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Four levels halve."""
        return 16


Network = Annotated[
    CNNOptions
    | ResNetOptions
    | DenseNet121Options
    | EfficientNetB0Options
    | ViTOptions
    | UNetOptions
    | DynUNetOptions
    | SegResNetOptions
    | AttentionUNetOptions
    | SwinUNETROptions
    | VNetOptions,
    Field(discriminator="name"),
]

NETWORKS: dict[str, type[NetworkOptions]] = {
    name: options
    for options in get_args(get_args(Network)[0])
    for name in get_args(options.model_fields["name"].annotation)
}
"""The options of every network, by the name that a job gives."""
