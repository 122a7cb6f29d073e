"""A model's state as one packed float32 vector, and back.

One vector makes aggregation, clipping, masking and robust statistics one NumPy operation each, and travels as
one object. Its layout (what stands where) has a digest, so that two sides never mix vectors of two networks.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Entry:
    """One tensor of the model's state: its name in the model and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """What stands where in the packed vector of a model.

    Tied tensors stand there once, under their first name. Integer buffers and buffers that the model doesn't
    save are not in the vector: they stay local.

    Attributes:
        entries: Trainable parameters first, then the rest: frozen parameters and float buffers (such as the
            statistics of batch norm), each in the order of the model.
        parameters: How many numbers of the vector are trainable parameters; they stand first.
    """

    entries: tuple[Entry, ...]
    parameters: int

    @classmethod
    def of(cls, model: nn.Module) -> "Layout":
        """Return the layout of a model's state."""
        return cls._of(_state(model))

    @classmethod
    def _of(cls, tensors: dict[str, Tensor]) -> "Layout":
        return cls(
            entries=tuple(Entry(name, tuple(tensor.shape)) for name, tensor in tensors.items()),
            parameters=sum(tensor.numel() for tensor in tensors.values() if tensor.requires_grad),
        )

    @cached_property
    def size(self) -> int:
        """Numbers in the vector."""
        return sum(entry.size for entry in self.entries)

    def digest(self) -> str:
        """Return the SHA-256 of names, shapes and order, in hexadecimal."""
        content = [self.parameters, [[entry.name, entry.shape] for entry in self.entries]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def pack(self, model: nn.Module) -> NDArray[np.float32]:
        """Return the model's state as a new vector of shape (size,).

        Raises:
            ValueError: The model has another layout.
        """
        tensors = self._matching(model)
        device = tensors[0].device if tensors else torch.device("cpu")
        packed = torch.empty(self.size, device=device)  # filled on the device: one transfer, not one an entry
        with torch.no_grad():
            for part, tensor in zip(self._parts(packed), tensors, strict=True):
                part.copy_(tensor)
        return packed.cpu().numpy()

    def unpack(self, vector: NDArray[np.float32], model: nn.Module) -> None:
        """Write a vector of shape (size,) into the model, in place, in the dtype that each tensor has there.

        Raises:
            ValueError: The vector has another size or numbers that are not finite, or the model has another
                layout. The model is then as it was.
        """
        tensors = self._matching(model)
        packed = self._checked(vector)
        if not np.isfinite(packed.numpy()).all():  # several times faster than torch.isfinite
            raise ValueError("the packed model has numbers that are not finite")
        if tensors:
            packed = packed.to(tensors[0].device)
        with torch.no_grad():
            for part, tensor in zip(self._parts(packed), tensors, strict=True):
                tensor.copy_(part)

    def state_dict(self, vector: NDArray[np.float32]) -> dict[str, Tensor]:
        """Return the vector's tensors by name, float32, sharing its memory: what a safetensors file holds.

        A model loads them with `load_state_dict(..., strict=False)`: integer buffers and second names of tied
        tensors are not among them.

        Raises:
            ValueError: The vector has another size.
        """
        parts = self._parts(self._checked(vector))
        return {entry.name: part for entry, part in zip(self.entries, parts, strict=True)}

    def _checked(self, vector: NDArray[np.float32]) -> Tensor:
        if vector.shape != (self.size,):
            raise ValueError(
                f"the packed model has shape {vector.shape}, but the layout asks for ({self.size},)"
            )
        # Vectors from a message are read-only, which PyTorch doesn't know: it gets a copy of those.
        return torch.from_numpy(np.require(vector, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]))

    def _parts(self, packed: Tensor) -> Iterator[Tensor]:
        parts = torch.split(packed, [entry.size for entry in self.entries])
        return (part.view(entry.shape) for part, entry in zip(parts, self.entries, strict=True))

    def _matching(self, model: nn.Module) -> list[Tensor]:
        tensors = _state(model)
        if Layout._of(tensors) != self:
            raise ValueError("the model's tensors are not those of the layout")
        return list(tensors.values())


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return the float tensors that travel, by name, in the order of the vector; tied tensors once."""
    buffers = list(model.named_buffers())
    if buffers:  # a state dict takes longer than the rest together, and few networks have any
        saved = model.state_dict().keys()
        buffers = [(name, tensor) for name, tensor in buffers if name in saved]
    tensors = [(n, t) for n, t in [*model.named_parameters(), *buffers] if t.is_floating_point()]
    return dict(sorted(tensors, key=lambda named: not named[1].requires_grad))
