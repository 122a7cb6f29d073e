"""Residual networks."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Norm, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class ResNetOptions(VectorOptions):
    """Residual network (He et al. 2016; MONAI `ResNet`); a vector per image, 2D and 3D."""

    name: Literal["resnet18", "resnet50"]
    stem_stride: Literal[1, 2] = Field(
        1, description="Step of the first convolution: 1 for images of 64 to 128 pixels, 2 for larger ones."
    )
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem's convolution, its pooling and three stages."""
        return 16 * self.stem_stride

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        millions = {"resnet18": (11.2, 33.2), "resnet50": (23.5, 46.2)}[self.name]
        return millions[ends.dimensions - 2] * 1e6

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.modules import residual_network

        return residual_network(self.name, ends, stem_stride=self.stem_stride, dropout=self.dropout)
