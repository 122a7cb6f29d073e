"""Capsule networks."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class CapsuleOptions(VectorOptions):
    """Capsules with dynamic routing (Sabour et al. 2017); a vector per image, 2D and 3D.

    The sigmoid of a logit is the length of the class's capsule. Losses are those of the task in place of the
    paper's margin loss and reconstruction, and capsules of one type share what they say at all positions.
    """

    norm: ClassVar[str] = "none"

    name: Literal["capsule"]
    features: int = Field(64, ge=2, le=1024, description="Features of the first convolution.")
    types: int = Field(16, ge=1, le=256, description="Types of primary capsules, of 8 numbers each.")
    kernel: Literal[3, 5, 7, 9] = Field(9, description="Pixels of the two convolutions along each axis.")
    routings: int = Field(3, ge=1, le=10, description="Times that capsules agree.")

    @property
    def stride(self) -> int:
        """The second convolution steps by 2."""
        return 2

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        convolved = self.kernel**ends.dimensions * self.features * (ends.channels + 8 * self.types)
        return convolved + 8 * self.types * 16 * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.vector_modules import CapsuleNetwork

        return CapsuleNetwork(
            ends,
            self.features,
            types=self.types,
            kernel=self.kernel,
            routings=self.routings,
            dropout=self.dropout,
        )
