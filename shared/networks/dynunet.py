"""nnU-Net's U-Net."""

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.networks.options import DeepMapOptions, Ends, Levels, Norm

if TYPE_CHECKING:
    from torch import nn


class DynUNetOptions(DeepMapOptions):
    """The U-Net of nnU-Net (Isensee et al. 2021; MONAI `DynUNet`); a map, 2D and 3D."""

    name: Literal["dynunet"]
    channels: Levels = Field([32, 64, 128, 256, 320], min_length=3)
    residual: bool = Field(False, description="Residual blocks instead of plain ones.")
    norm: Norm = "instance"

    @property
    def stride(self) -> int:
        """Each level below the first halves."""
        return 2 ** (len(self.channels) - 1)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = [ends.channels, *self.channels]
        down = sum(a * b + b * b for a, b in pairwise(levels))
        up = sum(3 * a * a for a in self.channels[:-1])
        joints = sum(a * b for a, b in pairwise(self.channels))
        return ends.kernel * (down + up) + 2**ends.dimensions * joints

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import DynUNet

        from shared.networks.map_modules import LevelledDynUNet

        strides = [1] + [2] * (len(self.channels) - 1)
        kind = LevelledDynUNet if self.deep_supervision else DynUNet
        model = kind(
            ends.dimensions,
            ends.channels,
            ends.outputs,
            kernel_size=[3] * len(strides),
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=self.channels,
            dropout=self.dropout or None,
            norm_name="batch",
            res_block=self.residual,
            deep_supervision=self.deep_supervision,
            deep_supr_num=len(self.channels) - 2,
        )
        # MONAI holds each block a second time, under `skip_layers`, from where it is run; Opacus would hook
        # both.
        del model.input_block, model.downsamples, model.bottleneck, model.upsamples
        if self.deep_supervision:
            del model.deep_supervision_heads
        model.last_layers = ["output_block"]  # registered before those under `skip_layers`
        return model
