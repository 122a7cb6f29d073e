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
    """A network that says what to add to channels of an image, or what they should be: within 0 and 1."""

    def __init__(self, model: nn.Module, channels: Sequence[int], *, residual: bool) -> None:
        super().__init__(model)
        self._channels, self._residual = list(channels), residual

    def forward(self, images: Tensor) -> Tensor:
        """Return the corrected channels (B, K, *S) of images (B, C, *S)."""
        chosen = images[:, self._channels]
        found = super().forward(chosen)
        return torch.clamp(chosen + TENTH * found if self._residual else found, 0.0, 1.0)


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


class OfTable(nn.Module):
    """A network that sees the columns of a table, which it brings to one scale itself.

    Args:
        model: Sees the table.
        image: Sees the image beside it, where there is one; the outputs are added.
        scale: Mean and deviation of each column (2, K).
        is_number: Which columns are numbers, of which `indicators` say whether they are missing.
        indicators: Whether they do.
    """

    means: Tensor
    deviations: Tensor
    numbers: Tensor

    def __init__(
        self, model: nn.Module, image: nn.Module | None, scale: Tensor, is_number: Tensor, *, indicators: bool
    ) -> None:
        super().__init__()
        self.model, self.image = model, image
        self.register_buffer("means", scale[0])
        self.register_buffer("deviations", scale[1])
        self.register_buffer("numbers", is_number.nonzero()[:, 0])
        self._indicators = indicators

    def forward(self, record: Tensor, image: Tensor | None = None) -> Tensor:
        """Return logits (B, K) of tables (B, columns), not a number where one is missing."""
        scaled = ((record.double() - self.means) / self.deviations).float()
        missing = scaled.isnan()
        seen = torch.where(missing, torch.zeros_like(scaled), scaled)
        if self._indicators:
            seen = torch.cat([seen, missing.index_select(1, self.numbers).float()], dim=1)
        found: Tensor = self.model(seen)
        return found if self.image is None else self.image(image) + found


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
