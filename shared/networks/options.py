"""What a job may say about its network, and what every network says about itself; loads no PyTorch."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from shared.table import Table

if TYPE_CHECKING:
    from torch import nn

    from shared.job.schema import DataTable

Norm = Annotated[
    Literal["instance", "batch", "group"],
    Field(
        description="Normalisation. `batch` mixes patients and keeps statistics that differ from hospital to "
        "hospital; `instance` and `group` (8 groups, or fewer where the features ask for it) do neither."
    ),
]
Levels = Annotated[
    list[Annotated[int, Field(ge=2, le=2048)]],
    Field(max_length=8, description="Features of each level, which halves the image."),
]


Output = Literal["vector", "map", "image"]
"""What a network gives: numbers for an image, or for each of its pixels; or an image, drawn from numbers."""


@dataclass(frozen=True)
class Ends:
    """What stands at the two ends of a network.

    Attributes:
        dimensions: 2 or 3; 0 for the columns of a table.
        channels: Channels of an image, or numbers of a table; where it draws an image, numbers that it draws
            it from.
        outputs: Numbers, for an image or for each of its pixels; where it draws an image, its channels.
        size: Pixels along each axis of what it is trained on.
        gives: Which of these.
    """

    dimensions: int
    channels: int
    outputs: int
    size: list[int]
    gives: Output

    @classmethod
    def of(cls, data: "DataTable", outputs: int, gives: Output) -> "Ends":
        """Return the ends of a network that takes a job's images."""
        return cls(data.dimensions, data.channels, outputs, data.patch or data.size or [], gives)

    @classmethod
    def of_table(cls, inputs: int, outputs: int) -> "Ends":
        """Return the ends of a network that takes so many numbers and gives a vector."""
        return cls(0, inputs, outputs, [], "vector")

    @property
    def of_what(self) -> str:
        """What it takes, in words."""
        return f"in {self.dimensions}D" if self.dimensions else "of a table"

    @classmethod
    def of_drawn(cls, data: "DataTable", inputs: int) -> "Ends":
        """Return the ends of a network that draws images like a job's from vectors."""
        return cls(data.dimensions, inputs, data.channels, data.size or [], "image")

    @property
    def kernel(self) -> int:
        """Numbers of a convolution of 3 pixels along each axis, from one channel to one."""
        return int(3**self.dimensions)


class NetworkOptions(Table):
    """Options that every network has, and what every network says about itself.

    Attributes:
        gives: What its output is; a task says what it needs.
        dimensions: 2 for images, 3 for volumes, 0 for tables.
        obstacle: Why it can't be trained with differential privacy; None where it can: Opacus gets each
            sample's gradient, once batch norm is replaced and activations work out of place.
        input_channels: Numbers of channels that an image may have; None for any.
    """

    gives: ClassVar[Output]
    dimensions: ClassVar[frozenset[int]] = frozenset({2, 3})
    obstacle: ClassVar[str | None] = None
    input_channels: ClassVar[frozenset[int] | None] = None

    name: str
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Share of activations dropped in training.")

    @abstractmethod
    def build(self, ends: Ends) -> "nn.Module":
        """Return the network on the CPU, in float32, with batch norm; loads PyTorch and MONAI.

        Batch norm is what all of MONAI's classes can have: the norm of the job replaces it.
        """

    @abstractmethod
    def about_numbers(self, ends: Ends) -> float:
        """Return about how many numbers the network has, right to a third."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels along an axis that become one position at the deepest level."""

    @property
    def divisor(self) -> int:
        """Number that must divide the image's size along each axis."""
        return 1

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return what the network needs and images (or patches) of this size in pixels lack, or None.

        Below two positions at the deepest level, a normalisation has nothing to normalise over and fails.
        """
        if math.prod(-(-pixels // self.stride) for pixels in size) < 2:
            return f"at least {self.stride + 1} pixels along one axis"
        return None


class VectorOptions(NetworkOptions):
    """A network that gives a vector for an image, such as one score per class."""

    gives = "vector"


class RoundingDownOptions(VectorOptions):
    """A network whose levels drop the pixel that is left over, where others keep it."""

    def size_problem(self, size: Sequence[int]) -> str | None:
        """Return what images of this size lack, or None."""
        if min(size) < self.stride:
            return f"at least {self.stride} pixels along each axis"
        if max(size) < 2 * self.stride:
            return f"at least {2 * self.stride} pixels along one axis"
        return None


class MapOptions(NetworkOptions):
    """A network that gives a vector for each pixel, such as one score per structure."""

    gives = "map"

    @property
    def divisor(self) -> int:
        """Every level must halve evenly, or the halves of the network don't meet; the task pads for it."""
        return self.stride
