"""Transformer as the encoder of a U-Net."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from shared.networks.options import Ends, MapOptions, Norm

if TYPE_CHECKING:
    from torch import nn


class UNETROptions(MapOptions):
    """Transformer of 12 layers as a U-Net's encoder (Hatamizadeh et al. 2022; MONAI `UNETR`); a map.

    What it knows of a place is learnt for images of one size: smaller ones are padded to it with zeros.
    """

    obstacle = "its positions belong to no layer, and Opacus sees layers only"

    name: Literal["unetr"]
    features: int = Field(
        16, ge=2, le=128, description="Features of the finest level of the decoder; each doubles."
    )
    hidden: int = Field(384, ge=8, le=2048, description="Features of a token.")
    heads: int = Field(6, ge=1, le=64, description="Attention heads; a divisor of `hidden`.")
    norm: Norm = "instance"

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads: {self.heads} heads can't share {self.hidden} features evenly")
        return self

    @property
    def stride(self) -> int:
        """A patch of 16 pixels along each axis becomes a token."""
        return 16

    def size_problem(self, size: Sequence[int]) -> str | None:
        """See the base class."""
        if any(pixels % 16 for pixels in size) or math.prod(size) == 16 ** len(size):
            return "multiples of 16 along each axis, more than one of them"
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        tokens = math.prod(pixels / 16 for pixels in ends.size)
        transformer = self.hidden * (12 * 12 * self.hidden + 16**ends.dimensions * ends.channels + tokens)
        double, own = 2**ends.dimensions, self.features
        up = double * own * self.hidden * (8 + 8 + 4 + 2)
        decoder = own * own * (ends.kernel * 3.2 * (64 + 16 + 4 + 1) + double * 42)
        return transformer + up + decoder + ends.kernel * own * ends.channels

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from monai.networks.nets import UNETR

        from shared.networks.map_modules import OfOneSize

        network = UNETR(
            ends.channels,
            ends.outputs,
            ends.size,
            self.features,
            self.hidden,
            4 * self.hidden,
            self.heads,
            norm_name="batch",
            dropout_rate=self.dropout,
            spatial_dims=ends.dimensions,
            qkv_bias=True,
        )
        for block in network.vit.blocks:
            del block.norm_cross_attn  # never used, and would travel in every round
        return OfOneSize(network, ends.size)
