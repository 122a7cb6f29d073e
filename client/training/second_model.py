"""A second model that learns beside the one in training, from the same batches (`Beside`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from client.training.flat_parameters import FlatParameters
from client.training.phases import Work
from shared.strategies.vectors import Beside
from shared.wire.packed_model import ModelState, tensor_of


class SecondModel:
    """Takes a gradient at the point that a strategy names, with statistics of its own, before each step.

    Args:
        model: In training.
        parameters: Its trainable ones.
        beside: Says where, and takes the step.
    """

    def __init__(self, model: nn.Module, parameters: FlatParameters, beside: Beside) -> None:
        self._state = ModelState(model)
        self._parameters = parameters
        self._beside = beside
        begin, device = parameters.vector.numel(), parameters.vector.device
        packed = tensor_of(beside.model).to(device)
        self._own = parameters.laid_out(packed[:begin])
        shared = self._state.untrained
        parts = torch.split(packed[begin:], [tensor.numel() for tensor in shared])
        self._untrained = [part.view_as(tensor).clone() for part, tensor in zip(parts, shared, strict=True)]

    def learn(self, backward: Callable[[], object], work: Work) -> None:
        """Take a step of the second model; gradients are zero before it and after it.

        Args:
            backward: Adds up the gradients of the loss of a batch.
            work: The only phase of the training.
        """
        vector = self._parameters.vector
        now = vector.detach().clone()
        point = self._beside.point(self._own, now)
        with self._parameters.at(point), self._statistics_of_its_own():
            backward()
            if work.clip is not None:
                nn.utils.clip_grad_norm_(work.tensors, work.clip)
            assert vector.grad is not None  # noqa: S101 (`collect_gradients` was called)
            gradient = vector.grad + work.decay * point
        self._parameters.zero_gradients()
        with torch.no_grad():
            self._beside.step(self._own, now, gradient, work.rate)

    def end(self) -> None:
        """Give the strategy its model as it is now."""
        parts = [self._parameters.packed(self._own), *(tensor.reshape(-1) for tensor in self._untrained)]
        self._beside.model = torch.cat(parts).cpu().numpy().astype(np.float32, copy=False)

    @contextmanager
    def _statistics_of_its_own(self) -> Iterator[None]:
        shared = [tensor.clone() for tensor in self._state.untrained]
        self._put(self._untrained)
        yield
        self._untrained = [tensor.clone() for tensor in self._state.untrained]
        self._put(shared)

    @torch.no_grad()
    def _put(self, tensors: list[torch.Tensor]) -> None:
        for place, tensor in zip(self._state.untrained, tensors, strict=True):
            place.copy_(tensor)
