"""The two networks of a vector-quantised autoencoder."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, NetworkOptions, Output

if TYPE_CHECKING:
    from torch import nn


class VQVAEOptions(NetworkOptions):
    """Puts an image into a grid of codes, and makes one of them (van den Oord et al. 2017).

    Encoder and decoder are those of MONAI's `VQVAE`. The book is learnt by the gradient; MONAI's moves with
    averages over batches, which would be a figure of the patients beside the gradient.
    """

    gives: ClassVar[Output] = "codes"

    name: Literal["vqvae"]
    channels: Levels = Field([32, 64], min_length=1)
    blocks: int = Field(1, ge=1, le=8, description="Residual blocks of each level.")
    width: int = Field(16, ge=1, le=512, description="Numbers of a code.")

    @property
    def stride(self) -> int:
        """Each level halves."""
        return int(2 ** len(self.channels))

    def size_problem(self, size: Sequence[int]) -> str | None:
        """See the base class; nothing is padded."""
        return (
            f"multiples of {self.stride} pixels along each axis"
            if any(n % self.stride for n in size)
            else None
        )

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        halving = sum(a * b for a, b in pairwise([ends.channels, *self.channels]))
        halving += sum(a * b for a, b in pairwise([ends.channels, *self.channels]))
        within = 2 * sum(2 * self.blocks * n * n for n in self.channels) + 2 * self.width * self.channels[-1]
        return float(4**ends.dimensions * halving + ends.kernel * within + ends.outputs * self.width)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.vqvae_modules import QuantisedAutoencoder

        return QuantisedAutoencoder(ends, self.channels, self.blocks, self.width, self.dropout)


class CodeTransformerOptions(NetworkOptions):
    """Says of a row of codes which comes next (MONAI `DecoderOnlyTransformer`; Vaswani et al. 2017)."""

    gives: ClassVar[Output] = "tokens"
    dimensions: ClassVar[frozenset[int]] = frozenset({0})

    name: Literal["code-transformer"]
    width: int = Field(64, ge=2, le=4096, description="Features of a place.")
    layers: int = Field(2, ge=1, le=24, description="Layers in which places look at those before them.")
    heads: int = Field(4, ge=1, le=64, description="Heads of each; they divide the features.")

    @property
    def stride(self) -> int:
        """Codes have no pixels."""
        return 1

    def size_problem(self, size: object) -> str | None:
        """Return None: codes have no size."""
        return None

    def problem(self, ends: Ends) -> str | None:
        """See the base class."""
        if self.width % self.heads:
            return f"heads: {self.width} features are not a multiple of {self.heads} heads"
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        tokens = ends.outputs + ends.channels
        return self.width * (2 * tokens + sum(ends.size)) + 12 * self.layers * self.width**2

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.vqvae_modules import CodePrior

        return CodePrior(ends, self.width, self.layers, self.heads, self.dropout)
