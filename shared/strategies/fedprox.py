"""FedProx: sites that stay near the shared model."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    from shared.wire.packed_model import Layout


class FedProx(StrategyOptions):
    """FedAvg with a proximal term at the sites (Li et al. 2018)."""

    name: Literal["fedprox"]
    proximal_mu: float = Field(0.01, ge=0, description="Weight of the proximal term.")

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that trains near the model that it gets."""
        return Near(self.proximal_mu)


class Near(SiteHalf):
    """Adds mu/2 · ‖w - w_global‖² to the loss (Li et al. 2020, eq. 2).

    Args:
        mu: Weight of the term.
    """

    def __init__(self, mu: float) -> None:
        self._mu = mu

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train with the term's gradient, which needs no automatic differentiation."""
        if not self._mu:
            return super().round(train, received, kept)
        start = train.place(received[MODEL])
        return {MODEL: train(received[MODEL], pull=lambda now: self._mu * (now - start)).model}, {}
