"""One prediction that is to be explained, as the methods see it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_MOST_PIXELS = 2**20  # of the images that are looked at at once


@dataclass(frozen=True)
class Subject:
    """A number that networks give for an image, and what a method may ask of it.

    Attributes:
        score: Images (N, C, *S) in the place of the sample's own -> the number for each (N,).
        image: The sample's own (1, C, *S).
        others: Images of other samples (M, C, *S), prepared in the same way; there may be none.
        networks: Those that give the number, in evaluation mode.
        seed: Of what a method draws.
    """

    score: Callable[[Tensor], Tensor]
    image: Tensor
    others: Tensor
    networks: Sequence[nn.Module]
    seed: int

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return tuple(self.image.shape[2:])

    @property
    def at_once(self) -> int:
        """How many images go through the networks together."""
        return max(1, _MOST_PIXELS // math.prod(self.image.shape[1:]))

    def scores(self, images: Tensor) -> Tensor:
        """Return the number for each of any count of images (N,), without gradients."""
        with torch.no_grad():
            return torch.cat([self.score(part) for part in images.split(self.at_once)])

    def gradients(self, images: Tensor) -> Tensor:
        """Return the gradient of each image's number by that image, (N, C, *S)."""
        found = []
        for part in images.split(self.at_once):
            given = part.detach().requires_grad_()
            found += torch.autograd.grad(self.score(given).sum(), given)
        return torch.cat(found)
