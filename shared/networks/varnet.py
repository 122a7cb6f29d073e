"""The end-to-end variational network."""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, NetworkOptions

if TYPE_CHECKING:
    from torch import nn

_LEVELS = 16  # MONAI's U-Net halves four times
Features = Annotated[list[Annotated[int, Field(ge=2, le=1024)]], Field(min_length=6, max_length=6)]


class VarNetOptions(NetworkOptions):
    """Steps on the k-space of all coils, whose maps it learns too (Sriram et al. 2020).

    MONAI's `VariationalNetworkModel` with its `CoilSensitivityModel`.
    """

    gives = "kspace"
    obstacle = "the weights of its steps lie in no layer, so that hooks see no gradient of single samples"

    name: Literal["varnet"]
    cascades: int = Field(4, ge=1, le=32, description="Steps, each with a U-Net of its own.")
    features: Features = Field(
        [16, 16, 32, 64, 128, 16], description="Features of the five levels of each U-Net, and of its last."
    )
    coil_features: Features = Field(
        [8, 8, 16, 32, 64, 8], description="The same of the U-Net that makes the maps of coils."
    )

    @property
    def stride(self) -> int:
        """See the base class; images are padded by the network itself."""
        return _LEVELS

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        steps = self.cascades * _numbers(self.features, ends)
        return steps + _numbers(self.coil_features, ends)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.reconstruction_modules import VarNet

        return VarNet(ends.dimensions, self.cascades, self.features, self.coil_features, self.dropout)


def _numbers(features: list[int], ends: Ends) -> float:
    """Return about how many numbers a U-Net of MONAI's has that sees two channels and gives two."""
    first, last = features[0], features[5]
    down = 2 * first + first**2 + sum(a * b + b * b for a, b in pairwise(features[:5]))
    up = 0.0
    for deep, (above, out) in zip(
        features[4:0:-1], zip(features[3::-1], [*features[3:0:-1], last], strict=True), strict=True
    ):
        raised = deep // 2 if out != last or above != features[0] else deep
        up += (above + raised) * out + out * out + 2**ends.dimensions * deep * raised / ends.kernel
    return ends.kernel * (down + up)
