"""Cascades of two U-Nets."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import DeepMapOptions, Ends, Levels, Norm
from shared.networks.unet import UNetOptions

if TYPE_CHECKING:
    from torch import nn


class CascadeOptions(DeepMapOptions):
    """Two U-Nets in a row, a W-Net: the second sees the image and the first one's map; 2D and 3D.

    After Isensee et al. 2021 (nnU-Net's cascade) at one scale. With deep supervision the first is taught too.
    """

    name: Literal["cascade"]
    channels: Levels = Field([16, 32, 64, 128], min_length=2)
    num_res_units: int = Field(
        0, ge=0, le=8, description="Residual units of each level; 0 for plain convolutions."
    )
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return self._unet.stride

    @property
    def _unet(self) -> UNetOptions:
        return UNetOptions(
            name="unet", channels=self.channels, num_res_units=self.num_res_units, dropout=self.dropout
        )

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return self._unet.about_numbers(ends) + self._unet.about_numbers(self._second(ends))

    @staticmethod
    def _second(ends: Ends) -> Ends:
        return replace(ends, channels=ends.channels + ends.outputs)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.map_modules import Cascade

        first, second = self._unet.build(ends), self._unet.build(self._second(ends))
        return Cascade(first, second, supervised=self.deep_supervision)
