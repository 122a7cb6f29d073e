"""A model's state as one packed float32 vector, and back.

One vector makes aggregation, clipping, masking and robust statistics one NumPy operation each, and travels as
one object. Its layout (what stands where) has a digest, so that two sides never mix vectors of two networks.
"""

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.wire.layout_digest import layout_digest

BESIDE = ":"
"""Begins the names of what travels beside a model; no tensor of one has such a name."""


@dataclass(frozen=True)
class Entry:
    """One tensor of the model's state: its name in the model and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_beside(self) -> bool:
        """Whether it belongs to a strategy, not to the model."""
        return self.name.startswith(BESIDE)

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """What stands where in the packed vector of a model.

    Tied tensors stand there once, under their first name. Integer buffers and buffers that the model doesn't
    save are not in the vector: `ModelState.unpack` sets them to what they were when the network was built.

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
        return cls.of_tensors(_state(model))

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> "Layout":
        """Return the layout of tensors by name, in their order."""
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
        return layout_digest(self.parameters, ((entry.name, entry.shape) for entry in self.entries))

    def pack(self, model: nn.Module) -> NDArray[np.float32]:
        """Return the model's state as a new vector of shape (size,).

        Raises:
            ValueError: The model has another layout.
        """
        return self._state_of(model).pack()

    def unpack(self, vector: NDArray[np.float32], model: nn.Module) -> None:
        """Write a vector of shape (size,) into the model; see `ModelState.unpack`.

        Raises:
            ValueError: As there, or the model has another layout.
        """
        self._state_of(model).unpack(vector)

    def state_dict(self, vector: NDArray[np.float32]) -> dict[str, Tensor]:
        """Return the vector's tensors by name, float32, sharing its memory: what a safetensors file holds.

        A model loads them with `load_state_dict(..., strict=False)`: integer buffers and second names of tied
        tensors are not among them. What travels beside the model is left out.

        Raises:
            ValueError: The vector has another size.
        """
        parts = self.parts(self.checked(vector))
        named = zip(self.entries, parts, strict=True)
        return {entry.name: part for entry, part in named if not entry.is_beside}

    def checked(self, vector: NDArray[np.float32]) -> Tensor:
        """Return a vector as a tensor in the same memory, to be read only.

        Raises:
            ValueError: The vector has another size.
        """
        if vector.shape != (self.size,):
            raise ValueError(
                f"the packed model has shape {vector.shape}, but the layout asks for ({self.size},)"
            )
        return tensor_of(np.ascontiguousarray(vector, np.float32))

    def parts(self, packed: Tensor) -> list[Tensor]:
        """Return views of a packed vector, one an entry, in the entry's shape."""
        parts = torch.split(packed, [entry.size for entry in self.entries])
        return [part.view(entry.shape) for part, entry in zip(parts, self.entries, strict=True)]

    def places(self, names: Collection[str]) -> NDArray[np.int64]:
        """Return the places of the named tensors in the packed vector, ascending."""
        spans, begin = [np.empty(0, np.int64)], 0
        for entry in self.entries:
            if entry.name in names:
                spans.append(np.arange(begin, begin + entry.size))
            begin += entry.size
        return np.concatenate(spans)

    def _state_of(self, model: nn.Module) -> "ModelState":
        state = ModelState(model)
        if state.layout != self:
            raise ValueError("the model's tensors are not those of the layout")
        return state


class ModelState:
    """The tensors of a model, of which most travel; where they are is found once, as that takes long.

    A forward pass may put another tensor in the place of a buffer, so it is the places that are kept.

    Attributes:
        layout: What stands where in the packed vector.
    """

    def __init__(self, model: nn.Module) -> None:
        tensors = _state(model)
        self.layout = Layout.of_tensors(tensors)
        self._places = [_place(model, name) for name in tensors]
        others = (name for name, _ in model.named_buffers() if name not in tensors)
        self._others = [_place(model, name) for name in others]
        self._as_built = [self._at(place).clone() for place in self._others]

    @staticmethod
    def _at(place: "_Place") -> Tensor:
        holder, key = place
        return holder[key]

    @property
    def _tensors(self) -> list[Tensor]:
        return [self._at(place) for place in self._places]

    @property
    def untrained(self) -> list[Tensor]:
        """The tensors that stand behind the trained ones, in their order; to be read or written in place."""
        return [tensor for tensor in self._tensors if not tensor.requires_grad]

    @torch.no_grad()
    def pack(self) -> NDArray[np.float32]:
        """Return the model's state as a new vector of shape (layout.size,)."""
        tensors = self._tensors
        device = tensors[0].device if tensors else torch.device("cpu")
        # Filled on the device: one transfer, not one an entry.
        packed = torch.empty(self.layout.size, device=device)
        _copy(tensors, self.layout.parts(packed))
        return packed.cpu().numpy()

    @torch.no_grad()
    def unpack(self, vector: NDArray[np.float32]) -> None:
        """Write a vector of shape (layout.size,) into the model, in place, in the dtype of each tensor there.

        What is not in the vector, such as a counter, becomes what it was when this object was made: the model
        then follows from the vector alone, whatever was done with the network before.

        Raises:
            ValueError: The vector has another size or numbers that are not finite. The model is then as it
                was.
        """
        packed = self.layout.checked(vector)
        if not np.isfinite(packed.numpy()).all():  # several times faster than torch.isfinite
            raise ValueError("the packed model has numbers that are not finite")
        tensors = self._tensors
        if tensors:
            packed = packed.to(tensors[0].device)
        _copy(self.layout.parts(packed), tensors)
        _copy(self._as_built, [self._at(place) for place in self._others])


_Place = tuple[dict[str, Tensor], str]
"""The parameters or the buffers of a module, and the name of one among them."""


def _place(model: nn.Module, name: str) -> _Place:
    path, _, key = name.rpartition(".")
    owner = model.get_submodule(path)
    holder = owner._parameters if key in owner._parameters else owner._buffers
    return cast("dict[str, Tensor]", holder), key


def tensor_of(values: NDArray[Any]) -> Tensor:
    """Return an array's values as a tensor in the same memory, to be read only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch warns of memory that is not writable
        return torch.from_numpy(values)


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    if sources:
        torch._foreach_copy_(targets, sources)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return the float tensors that travel, by name, in the order of the vector; tied tensors once."""
    buffers = list(model.named_buffers())
    if buffers:  # a state dict takes longer than the rest together, and few networks have any
        saved = model.state_dict().keys()
        buffers = [(name, tensor) for name, tensor in buffers if name in saved]
    tensors = [(n, t) for n, t in [*model.named_parameters(), *buffers] if t.is_floating_point()]
    return dict(sorted(tensors, key=lambda named: not named[1].requires_grad))
