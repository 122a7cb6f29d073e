"""What a run's networks compute as one module that knows nothing of Wardround: what is exported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.tasks.whole_images import padded

TENTH = 0.1
"""In what a correction of an image is counted: one whose network is untrained then changes it little."""


@dataclass(frozen=True)
class Input:
    """One tensor that a program takes.

    Attributes:
        shape: Of one sample, without the batch.
        classes: Where it is the index of a class: how many there are; 0 where it is numbers (float32).
        says: What it is, in words.
    """

    shape: tuple[int, ...]
    says: str
    classes: int = 0


@dataclass(frozen=True)
class Program:
    """A module and what goes in and comes out.

    Attributes:
        module: Takes a tensor for each input, in their order, and returns one.
        inputs: By name.
        output: Name of what comes out.
        says: What that is, in words.
        facts: What whoever reads the output must know, as JSON holds it.
    """

    module: nn.Module
    inputs: Mapping[str, Input]
    output: str
    says: str
    facts: Mapping[str, object]


class Whole(nn.Module):
    """A network that gives a map, with images padded to what divides their size."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the map (B, K, *S) of images (B, C, *S)."""
        return padded(self.model, images)


class Corrects(Whole):
    """A network that makes channels within 0 and 1 of others: it says what they are, or what to add to some.

    Args:
        model: Sees the channels.
        channels: Of the image, that it sees.
        corrected: Which of those its answer is added to: none, one, or one for each channel that it gives.
    """

    def __init__(self, model: nn.Module, channels: Sequence[int], corrected: Sequence[int]) -> None:
        super().__init__(model)
        self._channels, self._corrected = list(channels), list(corrected)

    def forward(self, images: Tensor) -> Tensor:
        """Return channels (B, K, *S) of images (B, C, *S)."""
        seen = images[:, self._channels]
        found = super().forward(seen)
        return torch.clamp(seen[:, self._corrected] + TENTH * found if self._corrected else found, 0.0, 1.0)


class Pooled(Whole):
    """The same, and the mean of the pixels of each cell."""

    def __init__(self, model: nn.Module, stride: int, dimensions: int) -> None:
        super().__init__(model)
        self._stride, self._flat = stride, dimensions == 2

    def forward(self, images: Tensor) -> Tensor:
        """Return the map of the cells."""
        maps = super().forward(images)
        if self._stride == 1:
            return maps
        pool = functional.avg_pool2d if self._flat else functional.avg_pool3d
        return pool(maps, self._stride, ceil_mode=True)


def clipped(values: Tensor, most: float | None) -> Tensor:
    """Return values within -most to most; what is not a number stays so."""
    return values if most is None else values.clamp(-most, most)


def known(image: Tensor) -> Tensor:
    """Return images (B, C, *S) with 0 for those that a row lacks, which are not a number."""
    return torch.where(_lacks(image).view(-1, *[1] * (image.dim() - 1)), torch.zeros_like(image), image)


def lacking(image: Tensor, record: Tensor) -> Tensor:
    """Return 1 where a row has no image, and where nothing of its record is known (B, 2).

    Args:
        image: (B, C, *S)
        record: (B, columns), as it is read.
    """
    return torch.stack([_lacks(image), record.isnan().all(dim=1)], dim=1).to(image.dtype)


def _lacks(image: Tensor) -> Tensor:
    return image.flatten(1).isnan().all(dim=1)


class OfTable(nn.Module):
    """A network that sees the columns of a table, which it brings to one scale itself.

    Args:
        model: Sees the table.
        beside: Sees the image beside it, and the network that brings the features of both together.
        scale: Mean and deviation of each column (2, K).
        is_number: Which columns are numbers, of which `indicators` say whether they are missing.
        indicators: Whether they do.
        clip: Deviations beyond which a number counts as this many; None for no end.
    """

    means: Tensor
    deviations: Tensor
    numbers: Tensor

    def __init__(
        self,
        model: nn.Module,
        beside: tuple[nn.Module, nn.Module] | None,
        scale: Tensor,
        is_number: Tensor,
        *,
        indicators: bool,
        clip: float | None,
    ) -> None:
        super().__init__()
        self.model = model
        self._clip = clip
        self.image = None if beside is None else beside[0]
        self.fusion = None if beside is None else beside[1]
        self.register_buffer("means", scale[0])
        self.register_buffer("deviations", scale[1])
        self.register_buffer("numbers", is_number.nonzero()[:, 0])
        self._indicators = indicators

    def forward(self, record: Tensor, image: Tensor | None = None) -> Tensor:
        """Return what is predicted (B, K) of tables (B, columns), not a number where one is missing."""
        scaled = clipped((record.double() - self.means) / self.deviations, self._clip).float()
        missing = scaled.isnan()
        seen = torch.where(missing, torch.zeros_like(scaled), scaled)
        if self._indicators:
            seen = torch.cat([seen, missing.index_select(1, self.numbers).float()], dim=1)
        found: Tensor = self.model(seen)
        if self.image is None or self.fusion is None or image is None:
            return found
        fused: Tensor = self.fusion(self.image(known(image)), found, lacking(image, record))
        return fused


class Rescaled(nn.Module):
    """A module whose output is brought from standard deviations to its own units.

    Args:
        module: Gives (B, K).
        means: (K,)
        deviations: (K,)
    """

    means: Tensor
    deviations: Tensor

    def __init__(self, module: nn.Module, means: Tensor, deviations: Tensor) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("means", means)
        self.register_buffer("deviations", deviations)

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Return the output for what the module takes, which are one tensor or two."""
        found: Tensor = self.module(first) if second is None else self.module(first, second)
        return found * self.deviations + self.means


class Draws(nn.Module):
    """A generator of images: numbers and, where there are classes, one of them."""

    def __init__(self, model: nn.Module, classes: int, *, unit: bool) -> None:
        super().__init__()
        self.model = model
        self._classes, self._unit = classes, unit

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Return images (B, C, *S) of noise (B, latent)."""
        vector = noise
        if label is not None:
            vector = torch.cat([noise, functional.one_hot(label, self._classes).float()], dim=1)
        image: Tensor = self.model(vector)
        return image.sigmoid() if self._unit else image
