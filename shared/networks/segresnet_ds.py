"""Residual encoder and decoder with deep supervision."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import DeepMapOptions, Ends, Norm

if TYPE_CHECKING:
    from torch import nn

Blocks = Annotated[
    list[Annotated[int, Field(ge=1, le=32)]],
    Field(
        min_length=2, max_length=8, description="Residual blocks of each level down; up there is one each."
    ),
]


class SegResNetDSOptions(DeepMapOptions):
    """SegResNet with deep supervision (Myronenko 2018; MONAI `SegResNetDS`); a map, 2D and 3D."""

    obstacle = "its blocks add in place, where Opacus can't follow"

    name: Literal["segresnet-ds"]
    features: int = Field(16, ge=2, le=256, description="Features of the first level; each doubles.")
    blocks: Blocks = Field([1, 2, 2, 4])
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.blocks) - 1)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        total, own = ends.kernel * ends.channels * self.features, self.features
        for level, blocks in enumerate(self.blocks):
            total += ends.kernel * blocks * 2 * own * own
            if level < len(self.blocks) - 1:  # down to the next, up from it, and a block there
                total += ends.kernel * (2 * own * own + 2 * own * own + 2 * own * own)
                own *= 2
        return total

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets.segresnet_ds import SegResNetDS
        from torch import nn

        from shared.networks.map_modules import Stacked

        network = SegResNetDS(
            ends.dimensions,
            self.features,
            ends.channels,
            ends.outputs,
            norm="batch",
            blocks_down=self.blocks,
            dsdepth=len(self.blocks) - 1 if self.deep_supervision else 1,
        )
        last = network.up_layers[-1]
        last["head"] = nn.Sequential(nn.Dropout(self.dropout), last["head"])
        return Stacked(network)
