"""What an explanation of a prediction is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from shared.batch import Batch


@dataclass(frozen=True)
class Explained:
    """One number that networks give for a sample.

    Attributes:
        field: The image that it follows from.
        says: What it is, in words.
        score: (models, batch) -> (B,), the number for each of the samples, with gradients.
    """

    field: str
    says: str
    score: Callable[[Mapping[str, nn.Module], Batch], Tensor]
