"""What a measurement is to a network: made of an image, brought back to one, and compared with one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Generator, Tensor

from shared.batch import Batch
from shared.tasks.images.metrics import MADE

Measured = Mapping[str, Tensor]
"""Tensors of a batch by name, whose first axis is that of its samples."""


class Scanner(ABC):
    """A measurement; images are (B, C, *S) with the `channels` of its options, real and then imaginary."""

    @abstractmethod
    def measure(self, image: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return what is measured of an image (1, *S) within 0 and 1, by name; without the batch."""

    @abstractmethod
    def direct(self, measured: Measured, size: tuple[int, ...]) -> Tensor:
        """Return the image (B, C, *size) that is made of a measurement without any training."""

    def known(self, measured: Measured) -> dict[str, Tensor]:
        """Return what else every step needs and the measurement tells; here nothing."""
        return {}

    def consistent(self, image: Tensor, batch: Batch) -> Tensor:
        """Return an image (B, C, *S) in which what was measured stands, as the job asks; here as it is."""
        return image

    def guided(self, image: Tensor, batch: Batch) -> Tensor:
        """Return an image (B, C + guides, *S) with what the measurement says of it; here nothing."""
        return image

    @abstractmethod
    def shown(self, image: Tensor) -> Tensor:
        """Return what people see of an image (B, C, *S): (B, 1, *S), real."""

    def finished(self, image: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the answer `image` (B, 1, *S) of the last step, and what else of it may be looked at."""
        return {MADE: self.shown(image)}
