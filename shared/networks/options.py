"""What a job may say about its network, and what every network says about itself; loads no PyTorch."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from shared.networks.packaged import Packaged
from shared.table import Name, Table, later_key

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shared.job.data_options import DataTable

Norm = Annotated[
    Literal["instance", "batch", "group", "frozen"],
    Field(
        description="Normalisation. `batch` mixes patients and keeps statistics that differ from hospital to "
        "hospital; `instance` and `group` (8 groups, or fewer where the features ask for it) do neither. "
        "`frozen` is batch norm as the start weights have it: nothing of it is trained or mixes patients."
    ),
]
Part = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=200)]
Levels = Annotated[
    list[Annotated[int, Field(ge=2, le=2048)]],
    Field(max_length=8, description="Features of each level, which halves the image."),
]


Output = Literal[
    "vector", "map", "image", "boxes", "fused", "noise", "steps", "kspace", "means", "codes", "tokens"
]
"""What a network gives: numbers for an image, for each of its pixels, or for each of its anchors, which its
method `anchors` returns; an image, drawn from numbers; numbers for the features of an image and of a record,
brought together; what of an image is noise, a channel of which says how noisy it is; a vector for each pixel
in each of several steps; the whole k-space of what was measured of it; sums of the features of classes;
codes of a book, and an image of them; or which code comes next."""

Stack = Literal["one", "bag", "series", "views"]
"""What a network takes of a sample: one image or table, or several, whose order may mean something; of views,
whose number is fixed, some may be lacking."""


@dataclass(frozen=True)
class Ends:
    """What stands at the two ends of a network.

    Attributes:
        dimensions: 2 or 3; 0 for the columns of a table.
        channels: Channels of an image, or numbers of a table; where it draws an image, numbers that it draws
            it from; where it brings features together, those of both inputs.
        outputs: Numbers, for an image or for each of its pixels; where it draws an image, its channels.
        size: Pixels along each axis of what it is trained on.
        gives: Which of these.
        stack: How many images or tables a sample is.
        views: Their number, of views.
    """

    dimensions: int
    channels: int
    outputs: int
    size: list[int]
    gives: Output
    stack: Stack = "one"
    views: int = 0

    @classmethod
    def of(cls, data: "DataTable", outputs: int, gives: Output) -> "Ends":
        """Return the ends of a network that takes a job's images."""
        return cls(data.dimensions, data.channels, outputs, data.patch or data.size or [], gives)

    @classmethod
    def of_table(cls, inputs: int, outputs: int) -> "Ends":
        """Return the ends of a network that takes a vector of numbers and gives another."""
        return cls(0, inputs, outputs, [], "vector")

    def of_several(self, stack: Stack, views: int = 0) -> "Ends":
        """Return the same for a bag or a series, or for that many views."""
        return replace(self, stack=stack, views=views)

    def giving(self, outputs: int) -> "Ends":
        """Return the same with another number of outputs."""
        return replace(self, outputs=outputs)

    @classmethod
    def of_features(cls, features: int, outputs: int) -> "Ends":
        """Return the ends of a network that brings the features of an image and of a record together."""
        return cls(0, 2 * features, outputs, [], "fused")

    @classmethod
    def of_means(cls, features: int, classes: int) -> "Ends":
        """Return the ends of what holds the mean of the features of each class."""
        return cls(0, features, classes, [], "means")

    @property
    def of_what(self) -> str:
        """What it takes, in words."""
        if self.gives in {"fused", "means"}:
            return "of features"
        if self.gives == "tokens":
            return "of codes"
        if self.stack == "one":
            return f"in {self.dimensions}D" if self.dimensions else "of a table"
        each = f"images in {self.dimensions}D" if self.dimensions else "vectors"
        if self.stack == "views":
            return f"of {self.views} views, {each}"
        return f"of a {self.stack} of {each}"

    @classmethod
    def of_drawn(cls, data: "DataTable", inputs: int) -> "Ends":
        """Return the ends of a network that draws images like a job's from vectors."""
        return cls(data.dimensions, inputs, data.channels, data.size or [], "image")

    @property
    def kernel(self) -> int:
        """Numbers of a convolution of 3 pixels along each axis, from one channel to one."""
        return int(3**self.dimensions)


class LoraTable(Table):
    """`[model.lora]`: adapters are trained beside the layers, which stay as they are (Hu et al. 2022)."""

    rank: int = Field(8, ge=1, le=256, description="Width of an adapter.")
    alpha: float | None = Field(
        None, gt=0, examples=[16.0], description="Adapters count alpha / rank; without it 1."
    )
    layers: list[Part] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        examples=[["encoder"]],
        description="Modules whose linear layers and convolutions get adapters; without it all but those in "
        "[update] parts, which are trained whole.",
    )

    @property
    def scale(self) -> float:
        """By how much the adapters count."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class NetworkOptions(Table):
    """Options that every network has, and what every network says about itself.

    Attributes:
        gives: What its output is; a task says what it needs.
        dimensions: 2 for images, 3 for volumes, 0 for tables.
        obstacle: Why it can't be trained with differential privacy; None where it can: Opacus gets each
            sample's gradient, once batch norm is replaced and activations work out of place.
        input_channels: Numbers of channels that an image may have; None for any.
        stacks: What it takes of a sample. For several, `build` returns a module that is given them and
            which of them are there (see `shared.networks.aggregator_modules`).
        packaged: Weights that it may start from, by the name that a job gives: those of its module `encoder`.
    """

    gives: ClassVar[Output]
    dimensions: ClassVar[frozenset[int]] = frozenset({2, 3})
    obstacle: ClassVar[str | None] = None
    input_channels: ClassVar[frozenset[int] | None] = None
    stacks: ClassVar[frozenset[Stack]] = frozenset({"one"})
    packaged: ClassVar[Mapping[str, Packaged]] = {}

    name: str
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Share of activations dropped in training.")
    start: Name | None = later_key(
        None,
        examples=["imagenet"],
        description="Weights that the network starts from, in place of drawn ones (docs/start.md).",
    )
    start_sha256: str | None = later_key(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Of the weights of a file, as `wardround job start` prints it.",
    )
    fresh: list[Part] | None = later_key(
        None,
        min_length=1,
        max_length=1000,
        examples=[["head"]],
        description="Modules for which the file has nothing, and which are drawn.",
    )

    @abstractmethod
    def build(self, ends: Ends) -> "nn.Module":
        """Return the network on the CPU, in float32, with batch norm; loads PyTorch and MONAI.

        Batch norm is what all of MONAI's classes can have: the norm of the job replaces it.
        """

    lora: LoraTable | None = later_key(
        None,
        description="Adapters that are trained in place of the layers, in a table of their own.",
    )

    @property
    def in_words(self) -> str:
        """Its name, what it starts from, and whether it has adapters."""
        text = self.name
        if (packaged := self.packaged.get(self.start or "")) is not None:
            text += f" from {packaged.source}"
        elif self.start is not None:
            text += f" from weights '{self.start}' of the coordinator's (SHA-256 {self.start_sha256})"
        return text if self.lora is None else f"{text}, with adapters of rank {self.lora.rank}"

    def start_problems(self, ends: Ends, *, private: bool) -> Iterator[str]:
        """Yield what is wrong with the weights that the network starts from, each naming a key.

        Args:
            ends: Of the network.
            private: Whether the job has a mechanism of differential privacy.
        """
        norm = getattr(self, "norm", None)
        if self.start is None:
            for key in ("start_sha256", "fresh"):
                if getattr(self, key) is not None:
                    yield f"{key}: is about start weights, and there is no start"
            if norm == "frozen":
                yield "norm: 'frozen' needs start weights, which have the statistics; set start"
            return
        if norm == "batch" and private:
            yield "norm: must be 'frozen' in a private job with start weights, as batch norm mixes patients"
        packaged = self.packaged.get(self.start)
        yield from self._file_problems() if packaged is None else self._packaged_problems(packaged, ends)

    def _file_problems(self) -> Iterator[str]:
        if self.start_sha256 is None:
            known = f" ('{self.name}' has {', '.join(self.packaged)} without it)" if self.packaged else ""
            yield (
                f"start_sha256: is missing{known}; `wardround job start FILE --job JOB.toml` prints it for a "
                "file of weights"
            )

    def _packaged_problems(self, packaged: Packaged, ends: Ends) -> Iterator[str]:
        if self.start_sha256 is not None or self.fresh is not None:
            yield f"start: Wardround knows the weights '{self.start}'; leave out start_sha256 and fresh"
        if ends.channels != packaged.channels:
            yield f"start: '{self.start}' takes images of {packaged.channels} channels ([data] channels)"
        if getattr(self, "norm", None) in {"instance", "group"}:
            yield f"norm: must be 'frozen' or 'batch' with start = '{self.start}'"

    def start_from(self, model: "nn.Module", tensors: "Mapping[str, Tensor]") -> None:
        """Put packaged weights into a network.

        Args:
            model: As `build` gave it.
            tensors: Of the package, by their names there.
        """
        raise NotImplementedError

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

    def problem(self, ends: Ends) -> str | None:
        """Return what of its options does not go with its ends, with the key, or None."""
        return None

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


class DeepMapOptions(MapOptions):
    """A network of maps whose coarser levels may be taught too, by maps of their own."""

    deep_supervision: bool = later_key(
        False,
        description="Coarser levels give maps in training too, enlarged to the image's size; each one's loss "
        "counts half of the finer one's.",
    )
