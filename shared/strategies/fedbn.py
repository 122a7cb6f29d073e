"""FedBN: every hospital has normalisation layers of its own."""

from typing import TYPE_CHECKING, ClassVar, Literal

from shared.errors import JobError
from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from shared.wire.packed_model import Layout

OWN = "own"
"""Name of the numbers that a site keeps for itself."""


class FedBN(StrategyOptions):
    """FedAvg of all but the normalisation layers, which stay at each site (Li et al. 2021)."""

    at_site: ClassVar[str] = "the normalisation layers stay at this site, with which its model is judged"

    name: Literal["fedbn"]

    def personal(self, model: "nn.Module") -> frozenset[str]:
        """Return parameters and statistics of the normalisation layers.

        Raises:
            JobError: None of them is trained.
        """
        from torch.nn import GroupNorm, LayerNorm, RMSNorm
        from torch.nn.modules.batchnorm import _NormBase

        layers = [
            (name, module)
            for name, module in model.named_modules()
            if isinstance(module, _NormBase | GroupNorm | LayerNorm | RMSNorm)
        ]
        if not any(parameter.requires_grad for _, layer in layers for parameter in layer.parameters()):
            raise JobError(
                "'fedbn' keeps the normalisation layers at the sites, and this job trains none",
                where="[strategy] name",
                remedy="Take a network or a norm that has parameters, or 'ditto', which keeps a whole model.",
            )
        return frozenset(
            f"{name}.{tensor}"
            for name, layer in layers
            for tensor, _ in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
        )

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that puts the site's own layers over those that it gets."""
        return Overlaid(layout.places(personal))


class Overlaid(SiteHalf):
    """Trains and judges what it gets with the site's own numbers in some places (FedBN, algorithm 1).

    A site that takes part for the first time has those of the first model there.

    Args:
        places: Of the site's own numbers in the network's vector.
    """

    def __init__(self, places: "NDArray[np.int64]") -> None:
        self._places = places
        self.keeps = {OWN: places.size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train the site's model; its own numbers stay here."""
        model = train(self.judged(received, kept)).model
        return {MODEL: model}, {OWN: model[self._places]}

    def judged(self, received: Vectors, kept: Vectors) -> Vector:
        """Return the site's own model."""
        if not kept:
            return received[MODEL]
        model = received[MODEL].copy()
        model[self._places] = kept[OWN]
        return model
