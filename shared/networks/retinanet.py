"""RetinaNet: boxes from anchors on a pyramid of features."""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, NetworkOptions, Norm

if TYPE_CHECKING:
    from torch import nn

_HEAD_LAYERS = 4  # convolutions of each of the two heads before the last


class RetinaNetOptions(NetworkOptions):
    """RetinaNet (Lin et al. 2017; MONAI `RetinaNet`) on a small encoder; boxes, 2D and 3D."""

    gives = "boxes"
    obstacle = "its heads see several levels with the same weights"

    name: Literal["retinanet"]
    channels: Levels = Field([16, 32, 64, 128], min_length=2)
    levels: int = Field(2, ge=1, le=5, description="The deepest levels, which make the pyramid.")
    features: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = Field(
        32, description="Of each level of the pyramid; a multiple of 8."
    )
    anchor_size: float = Field(
        3.0,
        gt=0,
        le=64,
        description="Side of a level's smallest anchors, in its pixels; two are larger.",
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)

    def problem(self, ends: Ends) -> str | None:
        """See the base class."""
        if self.levels > len(self.channels):
            return f"levels: {self.levels} of {len(self.channels)} channels"
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        blocks = sum(a * b + b * b for a, b in pairwise([ends.channels, *self.channels]))
        pyramid = self.levels * self.features**2
        heads = 2 * _HEAD_LAYERS * self.features**2
        last = self.features * (9 if ends.dimensions == 2 else 3) * ends.outputs
        return ends.kernel * (blocks + pyramid + heads + last) + self.features * sum(self.channels)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.pyramid import AnchoredRetinaNet

        return AnchoredRetinaNet(ends, self.channels, self.levels, self.features, self.anchor_size)
