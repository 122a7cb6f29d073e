"""MedNeXt."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import DeepMapOptions, Ends

if TYPE_CHECKING:
    from torch import nn

_BLOCKS = {  # of the stages down, at the bottom and up; what each expands to
    "S": ((2, 2, 2, 2), 2, (2, 2, 2, 2), (2, 2, 2, 2), 2, (2, 2, 2, 2)),
    "B": ((2, 2, 2, 2), 2, (2, 2, 2, 2), (2, 3, 4, 4), 4, (4, 4, 3, 2)),
    "M": ((3, 4, 4, 4), 4, (4, 4, 4, 3), (2, 3, 4, 4), 4, (4, 4, 3, 2)),
    "L": ((3, 4, 8, 8), 8, (8, 8, 4, 3), (3, 4, 8, 8), 8, (8, 8, 4, 3)),
}


class MedNeXtOptions(DeepMapOptions):
    """ConvNeXt as a U-Net of five levels (Roy et al. 2023; MONAI `MedNeXt`); a map, 2D and 3D.

    Each feature has a norm of its own, which belongs to the network: there is no `norm` to choose.
    """

    norm: ClassVar[str] = "none"

    name: Literal["mednext"]
    variant: Literal["S", "B", "M", "L"] = Field(
        "S", description="Blocks of each level, and their expansion."
    )
    features: int = Field(32, ge=2, le=128, description="Features of the first level; each doubles.")
    kernel: Literal[3, 5, 7] = Field(3, description="Pixels of a convolution along each axis.")

    @property
    def stride(self) -> int:
        """Four levels halve."""
        return 16

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        down, bottom, up, expand_down, expand_bottom, expand_up = _BLOCKS[self.variant]
        kernel = self.kernel**ends.dimensions
        total = 0.0
        for level in range(4):
            own = self.features * 2**level
            for blocks, expansion in (
                (down[level], expand_down[level]),
                (up[3 - level], expand_up[3 - level]),
            ):
                total += blocks * own * (2 * expansion * own + kernel)
            total += own * (3 * expand_down[level] * own + 2 * own + kernel)
            total += 2 * own * (3 * expand_up[3 - level] * own + own + kernel)
        own = self.features * 16
        return total + bottom * own * (2 * expand_bottom * own + kernel)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets.mednext import MedNeXt
        from torch import nn

        from shared.networks.map_modules import Stacked

        down, bottom, up, expand_down, expand_bottom, expand_up = _BLOCKS[self.variant]
        network = MedNeXt(
            ends.dimensions,
            self.features,
            ends.channels,
            ends.outputs,
            expand_down,
            expand_up,
            expand_bottom,
            self.kernel,
            deep_supervision=self.deep_supervision,
            use_residual_connection=True,
            blocks_down=down,
            blocks_bottleneck=bottom,
            blocks_up=up,
        )
        network.out_0 = nn.Sequential(nn.Dropout(self.dropout), network.out_0)
        return Stacked(network)
