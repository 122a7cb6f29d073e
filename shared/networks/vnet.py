"""V-Net."""

from typing import TYPE_CHECKING, Literal

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class VNetOptions(MapOptions):
    """V-Net (Milletari et al. 2016; MONAI `VNet`); a map, 2D and 3D."""

    input_channels = frozenset({1, 2, 4, 8, 16})  # the first block repeats the image to 16 features

    name: Literal["vnet"]
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Four levels halve."""
        return 16

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return 9.4e6 if ends.dimensions == 2 else 45.6e6

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import VNet
        from torch import nn

        model = VNet(ends.dimensions, ends.channels, ends.outputs, dropout_dim=ends.dimensions)
        for module in model.modules():
            if isinstance(module, nn.Dropout2d | nn.Dropout3d):
                module.p = self.dropout  # MONAI's arguments miss the two upper levels
        return model
