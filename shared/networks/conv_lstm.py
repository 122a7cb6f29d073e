"""A recurrent network whose memory is a map."""

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, Levels, Norm, Stack, VectorOptions

if TYPE_CHECKING:
    from torch import nn


class ConvLSTMOptions(VectorOptions):
    """Convolutions see each frame, and an LSTM of convolutions remembers a map (Shi et al. 2015)."""

    stacks: ClassVar[frozenset[Stack]] = frozenset({"series"})

    name: Literal["conv-lstm"]
    channels: Levels = Field([16, 32], min_length=1)
    features: int = Field(32, ge=1, le=1024, description="Features that are remembered at each position.")
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Each level halves."""
        return 2 ** len(self.channels)

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        levels = [ends.channels, *self.channels]
        gates = 4 * self.features * (levels[-1] + self.features)
        return ends.kernel * (sum(a * b for a, b in pairwise(levels)) + gates) + self.features * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.conv_lstm_module import ConvLSTM

        return ConvLSTM(ends, self.channels, self.features, self.dropout)
