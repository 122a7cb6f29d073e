"""FedDyn: each site's loss is tilted and held until what all sites agree on is the federation's optimum."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

SLOPE = "slope"
"""Name of what a site keeps: the gradient of its own loss where it ended, as the algorithm estimates it."""

H = "h"
"""Name of what the coordinator keeps: the mean of the slopes of all sites."""


class FedDyn(StrategyOptions):
    """Each site's loss is tilted until the sites' optima agree; SGD (Acar et al. 2021)."""

    at_site: ClassVar[str] = "keeps the estimated gradient of its own loss for the next round"

    name: Literal["feddyn"]
    alpha: float = Field(
        0.1,
        gt=0,
        description="Weight of the regulariser: the smaller, the farther a site's model goes in a round.",
    )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what the estimated gradients can't be kept with."""
        from shared.job_parts import phases_of
        from shared.strategies.kept_whole import cut_down

        if any(own.optimizer != "sgd" for own in phases_of(job).values()):
            yield (
                "[training] optimizer: must be 'sgd' under 'feddyn': the steps of others do not shrink with "
                "the gradient, and the way that a model went is read as one"
            )
        yield from cut_down(job)

    def remembers(self, layout: "Layout") -> Mapping[str, int]:
        """Return h: a number for each that is trained."""
        return {H: layout.parameters}

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that trains the tilted loss."""
        return Tilted(layout.parameters, self.alpha)

    def conclude(
        self, mean: Vectors, before: Vectors, kept: Vectors, share: float
    ) -> tuple[Vectors, Vectors]:
        """Return the model and h of the next round (algorithm 1, with P of m sites and θ what was sent).

        ::

            h ← h - α · 1/m · Σ_P (θ_k - θ)        θ ← 1/|P| · Σ_P θ_k - h / α

        Statistics of batch norm are not parameters, and take their plain mean.
        """
        trained = kept[H].size
        model = mean[MODEL].copy()
        h = kept[H] - self.alpha * share * (model[:trained] - before[MODEL][:trained])
        model[:trained] -= h / self.alpha
        return {MODEL: model}, {H: h}

    def diluted(self, kept: Vectors, share: float) -> Vectors:
        """Let h stay the mean of all slopes: those of the sites that are new were 0."""
        return {H: share * kept[H]}


class Tilted(SiteHalf):
    """Trains L_k(θ) - ⟨g_k, θ⟩ + α/2 · ‖θ - θ_sent‖² (equation 1), and renews g_k ← g_k - α (θ_k - θ_sent).

    Where the training ends at the minimum, g_k is the gradient of L_k there (its first-order condition). A
    site that takes part for the first time begins with g_k = 0.

    Args:
        size: Numbers that are trained.
        alpha: Weight of the regulariser.
    """

    def __init__(self, size: int, alpha: float) -> None:
        self._alpha = alpha
        self.keeps = {SLOPE: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train with the gradient of the two terms, which needs no automatic differentiation."""
        sent, trained, alpha = received[MODEL], self.keeps[SLOPE], self._alpha
        slope: Vector = kept[SLOPE] if kept else 0 * sent[:trained]
        near, tilt = train.place(sent), train.place(slope)
        model = train(sent, pull=lambda now: alpha * (now - near) - tilt).model
        return {MODEL: model}, {SLOPE: slope - alpha * (model[:trained] - sent[:trained])}
