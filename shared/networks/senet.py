"""Residual networks of grouped convolutions, and of blocks that weigh their channels."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, Norm, RoundingDownOptions

if TYPE_CHECKING:
    from torch import nn

Blocks = Annotated[
    list[Annotated[int, Field(ge=1, le=64)]],
    Field(min_length=4, max_length=4, description="Blocks of each stage: [3, 4, 6, 3] has 50 layers."),
]


class SENetOptions(RoundingDownOptions):
    """SE-ResNet, SE-ResNeXt (Hu et al. 2018; MONAI `SENet`) or ResNeXt (Xie et al. 2017); a vector."""

    name: Literal["senet"]
    variant: Literal["se-resnet", "se-resnext", "resnext"] = Field(
        "se-resnet",
        description="Blocks weigh channels ('se-'), have convolutions of 32 groups ('resnext'), or both.",
    )
    layers: Blocks = Field([3, 4, 6, 3])
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem's convolution, its pooling and three stages."""
        return 32

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        groups = 1 if self.variant == "se-resnet" else 32
        total, before = 7.0**ends.dimensions * ends.channels * 64, 64
        for planes, blocks in zip((64, 128, 256, 512), self.layers, strict=True):
            inner, after = planes if groups == 1 else planes * 2, planes * 4
            squeeze = 0 if self.variant == "resnext" else after * after // 8
            block = ends.kernel * inner * inner // groups + inner * after + squeeze
            total += blocks * block + before * (inner + after) + (blocks - 1) * after * inner
            before = after
        return total + before * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.vector_modules import squeezed

        groups = 1 if self.variant == "se-resnet" else 32
        return squeezed(ends, self.layers, groups, self.dropout, attention=self.variant != "resnext")
