"""FedPer and FedRep: every hospital has the last layers of the network for itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Part
from shared.strategies.fedbn import OWN, Overlaid
from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout


class OwnHead(StrategyOptions):
    """Options of the strategies whose last layers stay at the sites."""

    layers: list[Part] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Layers that stay at each site, by their names in the network, as in `[update] parts`. "
        "Without it the last layer that is trained.",
    )

    def personal(self, model: "nn.Module") -> frozenset[str]:
        """Return parameters and statistics of the last layers.

        Raises:
            JobError: See `last_layers`.
        """
        from shared.strategies.last_layers import last_layers

        return last_layers(model, self.layers, self.name)


class FedPer(OwnHead):
    """FedAvg of all but the last layers, which stay at each site (Arivazhagan et al. 2019)."""

    at_site: ClassVar[str] = "the last layers stay at this site, with which its model is judged"

    name: Literal["fedper"]

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that puts the site's own layers over those that it gets (algorithm 1)."""
        return Overlaid(layout.places(personal))


class FedRep(OwnHead):
    """Each site fits last layers of its own, then all share the layers below (Collins et al. 2021)."""

    at_site: ClassVar[str] = (
        "trains twice in each round: the last layers, which stay at this site, and then the others"
    )

    name: Literal["fedrep"]

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield that a second training on the same patients is not in a private job's promise."""
        if job.privacy.mechanism == "dp-sgd":
            yield (
                "[strategy] name: 'fedrep' trains a second time on the same patients in each round, and the "
                "noise of 'dp-sgd' is planned for one; take 'fedper', which trains once"
            )

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that trains the one after the other."""
        return InTurn(layout.places(personal), layout.parameters)


class InTurn(Overlaid):
    """Trains the own numbers while the others stay as they are, and then the others (algorithm 1).

    Args:
        places: Of the site's own numbers in the network's vector.
        trained: How many numbers are trained; they stand first.
    """

    def __init__(self, places: "NDArray[np.int64]", trained: int) -> None:
        super().__init__(places)
        self._trained = trained

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train the head (lines 7 to 9), then the representation (line 10); the head stays here."""
        import numpy as np

        own = np.zeros(self._trained, bool)
        own[self._places[self._places < self._trained]] = True
        fitted = train(self.judged(received, kept), free=own).model
        model = train(fitted, free=~own).model
        return {MODEL: model}, {OWN: model[self._places]}
