"""What a job may say about its network: one table of options a network, checked without loading PyTorch.

The networks themselves are built in `shared.models`, which imports PyTorch and MONAI.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Norm = Literal["instance", "batch", "group"]


class NetworkOptions(BaseModel):
    """Options that every network has."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Share of activations dropped in training.")


class UNetOptions(NetworkOptions):
    """U-Net with residual units (MONAI `UNet`); segmentation, 2D and 3D."""

    name: Literal["unet"]
    channels: list[int] = Field([16, 32, 64, 128, 256], min_length=2, description="Features a level.")
    num_res_units: int = Field(2, ge=0, description="Residual units a level; 0 for plain convolutions.")
    norm: Norm = "instance"


class CNNOptions(NetworkOptions):
    """Small LeNet-like CNN; classification, 2D and 3D."""

    name: Literal["cnn"]
    channels: list[int] = Field([16, 32, 64], min_length=1, description="Features a level.")
    norm: Norm = "group"


Network = Annotated[UNetOptions | CNNOptions, Field(discriminator="name")]
