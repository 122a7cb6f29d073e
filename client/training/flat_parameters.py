"""A network's parameters in one row of memory, so that an optimiser has one tensor to step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.strategies.vectors import Pull

_SMALLEST_NORM = 1e-12  # of a gradient that points anywhere


class FlatParameters:
    """Lays parameters one behind the other, and their gradients too; they stay what they are otherwise.

    An optimiser's step on a small network is mostly the work of going through its tensors: a fused AdamW took
    2.1 ms for the 75 tensors of a U-Net, and 0.3 ms for all of them as one. A parameter that never gets a
    gradient has a gradient of zero here: weight decay meets it too.

    Args:
        parameters: Of one dtype, on one device.

    Attributes:
        vector: All of them, with their gradients in `vector.grad`; for the optimiser.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        size = sum(parameter.numel() for parameter in parameters)
        self._parameters = list(parameters)
        self.vector = nn.Parameter(parameters[0].new_empty(size))
        for parameter, place in zip(parameters, self._places(self.vector.detach()), strict=True):
            parameter.data = place.copy_(parameter.detach())
        self._made: Tensor | None = None

    @property
    def _gradient(self) -> Tensor:
        """All gradients; their memory is taken when it is needed."""
        if self._made is None:
            self._made = torch.zeros_like(self.vector)
        return self._made

    def collect_gradients(self) -> None:
        """Let backward passes add into `vector.grad`, which is zero now."""
        # Laid out once more since, what the optimiser steps would be nobody's parameters.
        assert self._parameters[0].data_ptr() == self.vector.data_ptr()  # noqa: S101
        self.vector.grad = self._gradient.zero_()
        for parameter, place in zip(self._parameters, self._places(self._gradient), strict=True):
            parameter.grad = place

    def let_gradients_go(self) -> None:
        """Free the gradients' memory; what `runs` gave before is of no use any more."""
        self.vector.grad = self._made = None
        for parameter in self._parameters:
            parameter.grad = None

    def zero_gradients(self) -> None:
        """Forget what backward passes have added."""
        self._gradient.zero_()

    def runs(self, chosen: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """Return the parts of `vector` in which some of the parameters lie, for an optimiser of theirs.

        All of them are `vector` itself, which costs the least.
        """
        wanted, ends = set(map(id, chosen)), [0, *accumulate(own.numel() for own in self._parameters)]
        spans: list[tuple[int, int]] = []
        for parameter, begin, end in zip(self._parameters, ends, ends[1:], strict=False):
            if id(parameter) in wanted:
                joins = spans and spans[-1][1] == begin
                spans[-1:] = [(spans[-1][0], end)] if joins else [*spans[-1:], (begin, end)]
        if spans == [(0, ends[-1])]:
            return [self.vector]
        return [self._run(begin, end) for begin, end in spans]

    def _run(self, begin: int, end: int) -> nn.Parameter:
        run = nn.Parameter(self.vector.detach()[begin:end])
        run.grad = self._gradient[begin:end]
        return run

    def laid_out(self, packed: Tensor) -> Tensor:
        """Return numbers in the order of a packed model, shape (n,), in the order of `vector`."""
        vector, begin = torch.empty_like(self.vector.detach()), 0
        for place in self._places(vector):
            end = begin + place.numel()
            place.copy_(packed[begin:end].view(place.shape))
            begin = end
        return vector

    def packed(self, vector: Tensor) -> Tensor:
        """Return numbers in the order of `vector`, shape (n,), in that of a packed model."""
        return torch.cat([place.reshape(-1) for place in self._places(vector)])

    @contextmanager
    def uphill(self, radius: float) -> Iterator[None]:
        """Be so far up the gradient that was added up, which is zero then, and back at the end."""
        norm = self._gradient.norm().clamp(min=_SMALLEST_NORM)
        with self.at(self.vector.detach() + self._gradient * (radius / norm)):
            yield

    @contextmanager
    def at(self, point: Tensor) -> Iterator[None]:
        """Be elsewhere, with gradients that are zero, and back at the end.

        Args:
            point: In the order of `vector`.
        """
        start = self.vector.detach().clone()
        with torch.no_grad():
            self.vector.copy_(point)
        self.zero_gradients()
        yield
        with torch.no_grad():
            self.vector.copy_(start)

    @torch.no_grad()
    def add_to_gradient(self, pull: Pull) -> None:
        """Add to the gradient what a strategy makes of the parameters."""
        assert self.vector.grad is not None  # noqa: S101 (`collect_gradients` was called)
        self.vector.grad.add_(pull(self.vector.detach()))

    def _places(self, vector: Tensor) -> list[Tensor]:
        """Return each parameter's place in a vector, in the layout in memory that the parameter has."""
        places, begin = [], 0
        for parameter in self._parameters:
            places.append(vector.as_strided(parameter.shape, parameter.stride(), begin))
            begin += parameter.numel()
        return places


class Held:
    """Keeps some parameters as they are while the others are trained.

    Args:
        parameters: All.
        free: Which are trained, shape (n,) in the order of a packed model.
    """

    def __init__(self, parameters: FlatParameters, free: NDArray[np.bool_]) -> None:
        self._vector = parameters.vector
        self._free = parameters.laid_out(torch.from_numpy(free).to(self._vector.device)).bool()
        self._start = self._vector.detach().clone()

    @torch.no_grad()
    def before_step(self) -> None:
        """Take the gradient of the others away."""
        assert self._vector.grad is not None  # noqa: S101 (`collect_gradients` was called)
        self._vector.grad.mul_(self._free)

    @torch.no_grad()
    def after_step(self) -> None:
        """Put back what decay or momentum has moved without a gradient."""
        self._vector.copy_(torch.where(self._free, self._vector, self._start))
