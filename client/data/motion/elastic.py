"""Elastic changes: a smooth field of displacements moves pictures, labels and points alike."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from client.data.motion.steps import Shape, Step, Value, whole

_ROUNDS = 20  # of the search for where a point goes: displacements differ by less than half of a distance


@dataclass(frozen=True)
class Elastic(Step):
    """Displaced as control points are, linearly between them (Simard et al. 2003, Ronneberger et al. 2015).

    Attributes:
        offsets: (D, *N) from places in the output to those in the input, in pixels; the outermost of the N
            control points along an axis are its first and last pixel.
        before: The spatial shape.
    """

    bends: ClassVar[bool] = True

    offsets: Tensor
    before: Shape

    def picture(self, values: Value) -> Tensor:
        """See the base class; beyond the edge the border goes on."""
        tensor = whole(values)
        moved = grid_sample(self._stacked(tensor), self._grid(), padding_mode="border", align_corners=False)
        return moved.reshape(tensor.shape)

    def labels(self, values: Value) -> Tensor:
        """See the base class."""
        tensor = whole(values)
        moved = grid_sample(self._stacked(tensor).float(), self._grid(), mode="nearest", align_corners=False)
        return moved.reshape(tensor.shape).to(tensor.dtype)

    def points(self, points: Tensor) -> Tensor:
        """See the base class; what becomes of a point is searched for, as the field says where from."""
        found = points
        for _ in range(_ROUNDS):
            found = points - self._displaced(found)
        return found

    def _stacked(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(1, -1, *self.before)

    def _grid(self) -> Tensor:
        """Return where in the input each output pixel comes from, from -1 to 1, last axis first."""
        axes = [torch.arange(length, dtype=torch.float32) + 0.5 for length in self.before]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        moved = places + self._displaced(places.reshape(-1, len(axes))).reshape(places.shape)
        return (2 * moved / torch.tensor(self.before) - 1).flip(-1)[None]

    def _displaced(self, places: Tensor) -> Tensor:
        """Return the offsets (N, D) at places (N, D) in pixels from the edge."""
        last = torch.tensor([max(length - 1, 1) for length in self.before])
        at = (2 * (places - 0.5) / last - 1).flip(-1)
        grid = at.reshape(1, -1, *[1] * (len(self.before) - 1), len(self.before))
        found = grid_sample(self.offsets[None], grid, padding_mode="border", align_corners=True)
        return found.reshape(len(self.before), -1).T
