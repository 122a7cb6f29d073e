"""Vision transformers."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from shared.networks.options import Ends, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class ViTOptions(VectorOptions):
    """Vision transformer (Dosovitskiy et al. 2021; MONAI `ViT`); a vector per image, of one size."""

    obstacle = "its class token and positions belong to no layer, and Opacus sees layers only"

    name: Literal["vit"]
    patch: int = Field(16, ge=2, le=64, description="Pixels (voxels) of a token's patch along each axis.")
    features: int = Field(192, ge=8, le=2048, description="Features of a token.")
    layers: int = Field(12, ge=1, le=48, description="Transformer blocks.")
    heads: int = Field(3, ge=1, le=64, description="Attention heads; a divisor of `features`.")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.features % self.heads:
            raise ValueError(f"heads: {self.heads} heads can't share {self.features} features evenly")
        return self

    @property
    def stride(self) -> int:
        """A patch becomes a token."""
        return self.patch

    @property
    def divisor(self) -> int:
        """Patches tile the image."""
        return self.patch

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return what images of this size lack, or None."""
        if all(pixels % self.patch == 0 for pixels in size):
            return None
        nearest = [max(self.patch, round(pixels / self.patch) * self.patch) for pixels in size]
        return f"multiples of {self.patch} along each axis, such as {nearest}"

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        tokens = math.prod(pixels / self.patch for pixels in ends.size)
        embedding = self.patch**ends.dimensions * ends.channels + tokens
        return self.features * (12 * self.features * self.layers + embedding)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import ViT

        from shared.networks.modules import FirstOutput

        model = ViT(
            ends.channels,
            ends.size,
            self.patch,
            hidden_size=self.features,
            mlp_dim=4 * self.features,
            num_layers=self.layers,
            num_heads=self.heads,
            classification=True,
            num_classes=ends.outputs,
            dropout_rate=self.dropout,
            spatial_dims=ends.dimensions,
            post_activation="none",  # logits, where MONAI would put them through tanh
            qkv_bias=True,
        )
        for block in model.blocks:
            del block.norm_cross_attn  # never used, and would travel in every round
        return FirstOutput(model)
