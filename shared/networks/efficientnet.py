"""EfficientNet."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, Norm, RoundingDownOptions

if TYPE_CHECKING:
    from torch import nn


class EfficientNetB0Options(RoundingDownOptions):
    """EfficientNet (Tan and Le 2019; MONAI `EfficientNetBN`); a vector per image, 2D and 3D."""

    name: Literal["efficientnet-b0"]
    dropout: float = Field(0.2, ge=0.0, lt=1.0, description="Share of the last features dropped in training.")
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem and four stages."""
        return 32

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return 4.0e6 if ends.dimensions == 2 else 4.7e6

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import EfficientNetBN

        model = EfficientNetBN(
            self.name,
            pretrained=False,
            spatial_dims=ends.dimensions,
            in_channels=ends.channels,
            num_classes=ends.outputs,
            norm="batch",  # the published momentum of 0.01 would follow a round of few steps too slowly
        )
        model._dropout.p = self.dropout
        return model
