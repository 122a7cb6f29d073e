"""HighRes3DNet."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class HighResNetOptions(MapOptions):
    """Dilated residual blocks at full size (Li et al. 2017; MONAI `HighResNet`); a map, 2D and 3D."""

    name: Literal["highresnet"]
    features: int = Field(
        16, ge=2, le=128, description="Features of the first of three stages; each doubles."
    )
    repeat: int = Field(3, ge=1, le=16, description="Blocks of each stage.")
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """No level halves."""
        return 1

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        own = self.features**2
        blocks = 2 * self.repeat * (1 + 4 + 16) - (2 - 1) * 2 - (16 - 8)
        return ends.kernel * (ends.channels * self.features + own * blocks) + 20 * own

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import HighResNet

        stages = [
            {
                "name": f"res_{2**level}",
                "n_features": 2**level * self.features,
                "kernels": (3, 3),
                "repeat": self.repeat,
            }
            for level in range(3)
        ]
        layers = [
            {"name": "conv_0", "n_features": self.features, "kernel_size": 3},
            *stages,
            {"name": "conv_1", "n_features": 5 * self.features, "kernel_size": 1},
            {"name": "conv_2", "kernel_size": 1},
        ]
        return HighResNet(
            ends.dimensions,
            ends.channels,
            ends.outputs,
            norm_type="batch",
            acti_type="relu",
            dropout_prob=self.dropout,
            layer_params=layers,
        )
