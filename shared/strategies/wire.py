"""The named vectors of a strategy as the one vector that travels, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, Vector, Vectors
from shared.wire.packed_model import BESIDE, Entry, Layout


@dataclass(frozen=True)
class Wire:
    """What stands where.

    Attributes:
        model: Layout of the network.
        layout: Of what travels: the tensors of the network that are neither personal nor fixed, in their
            order, and behind them what a strategy sends beside the model.
        beside: Length of each vector beside the model, by name, in their order.
        own: Places in the network's vector of what is personal, and never leaves a site, or fixed, and is at
            the site already (`shared.networks.build`).
        personal: Names of the personal tensors.
        remembered: Length of each vector that the coordinator keeps between rounds, by name.
    """

    model: Layout
    layout: Layout
    beside: Mapping[str, int]
    own: NDArray[np.int64]
    personal: frozenset[str]
    remembered: Mapping[str, int]

    @property
    def lengths(self) -> dict[str, int]:
        """Length of each named vector, by its name."""
        return {MODEL: self.model.size, **self.beside}

    @classmethod
    def of(cls, model: nn.Module, options: StrategyOptions) -> Self:
        """Return the wire of a network under a strategy.

        Raises:
            JobError: The strategy can't work with the network.
        """
        whole, personal = Layout.of(model), options.personal(model)
        stays = personal | cast("frozenset[str]", getattr(model, "fixed", frozenset()))
        places = whole.places(stays)
        shared = Layout(
            tuple(entry for entry in whole.entries if entry.name not in stays),
            whole.parameters - int(np.count_nonzero(places < whole.parameters)),
        )
        beside = dict(options.sends(shared))
        entries = (Entry(f"{BESIDE}{name}", (size,)) for name, size in beside.items())
        layout = Layout((*shared.entries, *entries), shared.parameters)
        return cls(whole, layout, beside, places, personal, dict(options.remembers(shared)))

    def join(self, vectors: Vectors) -> Vector:
        """Return named vectors as the one that travels, shape (layout.size,).

        Args:
            vectors: The whole network's, and those beside it.
        """
        model = vectors[MODEL]
        if self.own.size:
            model = np.delete(model, self.own)
        return model if not self.beside else np.concatenate([model, *(vectors[name] for name in self.beside)])

    def split(self, vector: Vector, own: Vector | None = None) -> dict[str, Vector]:
        """Return the named vectors of one that travelled.

        Args:
            vector: Shape (layout.size,).
            own: Put in the places of `own`, shape (own.size,); zeros where it is None.

        Raises:
            ValueError: The vector has another size.
        """
        self.layout.checked(vector)
        shared, *others = np.split(
            vector, np.cumsum([self.model.size - self.own.size, *self.beside.values()])[:-1]
        )
        if self.own.size:
            model = np.zeros(self.model.size, np.float32)
            if own is not None:
                model[self.own] = own
            model[np.delete(np.arange(self.model.size), self.own)] = shared
            shared = model
        return {MODEL: shared, **dict(zip(self.beside, others, strict=True))}

    def first(self, model: Vector) -> Vector:
        """Return what travels in the first round: the first model, and zeros beside it."""
        return self.join({MODEL: model, **{name: np.zeros(n, np.float32) for name, n in self.beside.items()}})
