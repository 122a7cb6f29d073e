"""Ditto: beside the shared model, every hospital trains one of its own that stays near it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

OWN = "own"
"""Name of the site's own model."""


class Ditto(StrategyOptions):
    """FedAvg, and at each site a model of its own that is pulled to the shared one (Li et al. 2021)."""

    at_site: ClassVar[str] = "trains twice in each round: a second model stays at this site, and is judged"

    name: Literal["ditto"]
    pull: float = Field(
        0.1, ge=0, description="Weight of the pull on a site's own model (lambda); 0 trains it alone."
    )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield that a second training on the same patients is not in a private job's promise."""
        if job.privacy.mechanism == "dp-sgd":
            yield (
                "[strategy] name: 'ditto' trains a second time on the same patients in each round, and the "
                "noise of 'dp-sgd' is planned for one; take 'fedbn', which trains once"
            )

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that trains two models."""
        return Beside(layout.size, self.pull)


class Beside(SiteHalf):
    """Trains the shared model, and then the site's own on the same batches (algorithm 1).

    Only the shared one is sent; only the site's own is judged. A site that takes part for the first time
    begins with the shared model that it gets.

    Args:
        size: Numbers of the network.
        weight: Of the pull.
    """

    def __init__(self, size: int, weight: float) -> None:
        self._weight = weight
        self.keeps = {OWN: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train both; the site's own is pulled to the model that was received (line 7)."""
        shared = train(received[MODEL]).model
        near = train.place(received[MODEL])
        own = train(self.judged(received, kept), pull=lambda now: self._weight * (now - near)).model
        return {MODEL: shared}, {OWN: own}

    def judged(self, received: Vectors, kept: Vectors) -> Vector:
        """Return the site's own model."""
        return kept[OWN] if kept else received[MODEL]
