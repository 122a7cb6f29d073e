"""Dense U-Nets, and hybrids of planes and volume."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn

Layers = Annotated[
    list[Annotated[int, Field(ge=1, le=64)]],
    Field(min_length=2, max_length=8, description="Layers of each block; blocks below the first halve."),
]


class DenseUNetOptions(MapOptions):
    """U-Net of dense blocks, in 3D also as a hybrid (Li et al. 2018, H-DenseUNet); a map, 2D and 3D."""

    name: Literal["dense-unet"]
    features: int = Field(
        32, ge=2, le=512, description="Features of the first and of the joining convolutions."
    )
    growth: int = Field(16, ge=1, le=128, description="Features that each layer adds.")
    layers: Layers = Field([4, 4, 4, 4])
    hybrid: bool = Field(
        False,
        description="Of volumes: a network of the planes along the first two axes guides that of the volume.",
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each block below the first halves."""
        return 2 ** (len(self.layers) - 1)

    def problem(self, ends: Ends) -> str | None:
        """See the base class."""
        if self.hybrid and ends.dimensions != 3:
            return "hybrid: is for volumes ([data] dimensions = 3)"
        return super().problem(ends)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        one = self._of_one(ends.kernel, ends.channels)
        if not self.hybrid:
            return one
        head = ends.kernel * self.features**2
        return self._of_one(9, ends.channels) + self._of_one(ends.kernel, ends.channels + ends.outputs) + head

    def _of_one(self, kernel: int, channels: int) -> float:
        total, features, skipped = kernel * channels * self.features, self.features, list[int]()
        for number, count in enumerate(self.layers):
            for _ in range(count):
                total += kernel * features * self.growth
                features += self.growth
            skipped.append(features)
            if number < len(self.layers) - 1:
                total += features * (features // 2)
                features //= 2
        for skip in reversed(skipped[:-1]):
            total += kernel * (features + skip) * self.features
            features = self.features
        return float(total)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.layers.factories import Conv
        from torch import nn

        from shared.networks.map_modules import DenseUNet, Hybrid

        sizes = (self.features, self.growth, self.layers, self.dropout)
        if self.hybrid:
            beside = replace(ends, channels=ends.channels + ends.outputs)
            return Hybrid(DenseUNet(ends, *sizes, in_plane=True), DenseUNet(beside, *sizes), ends)
        network = DenseUNet(ends, *sizes)
        return nn.Sequential(network, Conv[Conv.CONV, ends.dimensions](network.features, ends.outputs, 1))
