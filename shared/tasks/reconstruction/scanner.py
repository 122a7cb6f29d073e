"""What a measurement is to a network: made of an image, brought back to one, and compared with one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Generator, Tensor, nn

from shared.batch import Batch
from shared.tasks.images.metrics import MADE
from shared.tasks.precision import full
from shared.tasks.reconstruction.options import DIRECT

Measured = Mapping[str, Tensor]
"""Tensors of a batch by name, whose first axis is that of its samples."""


class Scanner(ABC):
    """A measurement; images are (B, C, *S) with the `channels` of its options, real and then imaginary."""

    @abstractmethod
    def measure(self, image: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return what is measured of an image (1, *S) within 0 and 1, by name; without the batch."""

    @abstractmethod
    def truth(self, raw: Tensor) -> Tensor:
        """Return the images (B, 1, *S) of whole measurements from files, from which some is left out.

        Raises:
            DataError: Something is lacking in them.
        """

    @abstractmethod
    def again(self, raw: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return the part of a whole measurement from a file (one of a batch) that `measure` would give."""

    @abstractmethod
    def given(self, raw: Tensor) -> dict[str, Tensor]:
        """Return the measurements from files (B, ...) as they are, named as `measure` names them."""

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

    def untrained(self, batch: Batch) -> Tensor:
        """Return what people see of the image that is made without training (B, 1, *S); here itself."""
        return full(batch[DIRECT])

    def at_once(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the answer of a network that works on the measurement itself, as `finished` does.

        Raises:
            ValueError: There is no such network for it.
        """
        raise ValueError("only k-space has networks that work on it")

    def finished(self, image: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the answer `image` (B, 1, *S) of the last step, and what else of it may be looked at."""
        return {MADE: image}
