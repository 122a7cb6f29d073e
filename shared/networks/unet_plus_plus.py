"""UNet++."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import DeepMapOptions, Ends, Levels, Norm

if TYPE_CHECKING:
    from torch import nn


class UNetPlusPlusOptions(DeepMapOptions):
    """UNet++, nested U-Nets of five levels (Zhou et al. 2018; MONAI `BasicUNetPlusPlus`); a map."""

    name: Literal["unet++"]
    channels: Levels = Field([16, 32, 64, 128, 256], min_length=5, max_length=5)
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 16

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels, total = [ends.channels, *self.channels], 0.0
        for above, below in pairwise(levels):
            total += ends.kernel * (above * below + below * below)
        for level, (features, below) in enumerate(pairwise(self.channels)):
            halved = below // 2 if level else below
            for joined in range(1, 5 - level):
                total += 2**ends.dimensions * below * halved
                total += ends.kernel * features * (joined * features + halved + features)
        return total

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import BasicUNetPlusPlus
        from torch import nn

        from shared.networks.map_modules import Stacked

        features = [*self.channels, self.channels[0]]
        network = BasicUNetPlusPlus(
            ends.dimensions,
            ends.channels,
            ends.outputs,
            features,
            deep_supervision=self.deep_supervision,
            norm="batch",
            dropout=self.dropout,
        )
        if not self.deep_supervision:  # MONAI runs these heads whether anybody looks at them or not
            network.final_conv_0_1 = network.final_conv_0_2 = network.final_conv_0_3 = nn.Identity()
        return Stacked(network, finest=-1)
