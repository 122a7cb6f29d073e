"""Densely connected networks."""

from typing import TYPE_CHECKING, Literal

from shared.networks.options import Ends, Norm, RoundingDownOptions

if TYPE_CHECKING:
    from torch import nn


class DenseNet121Options(RoundingDownOptions):
    """Densely connected network (Huang et al. 2017; MONAI `DenseNet121`); a vector per image, 2D and 3D."""

    name: Literal["densenet121"]
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """The stem's convolution, its pooling and three transitions."""
        return 32

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return 7.0e6 if ends.dimensions == 2 else 11.2e6

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import DenseNet121

        return DenseNet121(ends.dimensions, ends.channels, ends.outputs, dropout_prob=self.dropout)
