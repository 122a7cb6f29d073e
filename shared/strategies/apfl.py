"""APFL: each hospital has a mixture of the shared model and one of its own, in a share that it learns."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from torch import Tensor

    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

OWN = "own"
"""Name of the site's own model (v of the paper), with the statistics of the mixture."""

SHARE = "share"
"""Name of the share that the own model has in the mixture (alpha)."""


class APFL(StrategyOptions):
    """FedAvg, and at each site a mixture with a model of its own; SGD (Deng et al. 2020)."""

    at_site: ClassVar[str] = (
        "trains a second model beside the shared one, which stays at this site; their mixture is judged"
    )

    name: Literal["apfl"]
    share: float = Field(
        0.5, ge=0, le=1, description="Share of the site's own model in the mixture (alpha), to begin with."
    )
    adaptive: bool = Field(True, description="Whether each site learns its share; otherwise it stays.")

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what a second model can't learn beside the first with."""
        from shared.job_parts import phases_of

        phases = phases_of(job)
        if job.privacy.mechanism == "dp-sgd":
            yield (
                "[strategy] name: 'apfl' asks the same patients for a second gradient in each step, and the "
                "noise of 'dp-sgd' is planned for one; take 'fedbn' or 'fedper', which ask once"
            )
        if len(phases) > 1:
            yield (
                f"[strategy] name: 'apfl' needs a task of one phase, and '{job.task.name}' has {len(phases)}"
            )
        if any(own.optimizer != "sgd" or own.momentum for own in phases.values()):
            yield (
                "[training] optimizer: must be 'sgd' with momentum = 0.0 under 'apfl', whose own models take "
                "plain steps"
            )
        if job.training.rates:
            yield "[training] rates: can't be used with 'apfl', whose own models step at one rate"
        if job.training.precision == "float16":
            yield "[training] precision: can't be 'float16' with 'apfl', whose second gradient may overflow"

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that trains both."""
        return Mixing(layout.size, layout.parameters, self)


class Mixing(SiteHalf):
    """Trains the shared model w as FedAvg does, and beside it v for the mixture (algorithm 1).

    Only w is sent; only the mixture with the w of all sites is judged. A site that takes part for the first
    time begins with the shared model as its own.

    Args:
        size: Numbers of the network.
        trained: Of these, those that are trained; they stand first.
        options: Where the share begins, and whether it moves.
    """

    def __init__(self, size: int, trained: int, options: APFL) -> None:
        self._trained = trained
        self._options = options
        self.keeps = {OWN: size, SHARE: 1}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train both on the same batches."""
        import numpy as np

        own = kept[OWN] if kept else received[MODEL]
        share = float(kept[SHARE][0]) if kept else self._options.share
        mixture = Mixture(own, share, adaptive=self._options.adaptive)
        model = train(received[MODEL], beside=mixture).model
        return {MODEL: model}, {OWN: mixture.model, SHARE: np.array([float(mixture.share)], np.float32)}

    def judged(self, received: Vectors, kept: Vectors) -> Vector:
        """Return the mixture, with statistics of its own."""
        if not kept:
            return received[MODEL]
        model, share, own = kept[OWN].copy(), kept[SHARE][0], slice(self._trained)
        model[own] = share * model[own] + (1 - share) * received[MODEL][own]
        return model


class Mixture:
    """Steps of a model v in a mixture u = a v + (1 - a) w; a `shared.strategies.vectors.Beside`.

    ::

        v ← v - η a ∇L(u)        a ← a - η ⟨v - w, ∇L(u)⟩, within 0 and 1

    The gradient with respect to v has the factor a by the chain rule, that with respect to a is the second.

    Args:
        model: v, with the statistics of the mixture.
        share: a, to begin with.
        adaptive: Whether a moves.
    """

    def __init__(self, model: Vector, share: float, *, adaptive: bool) -> None:
        self.model = model
        self.share: float | Tensor = share
        self._adaptive = adaptive

    def point(self, own: "Tensor", now: "Tensor") -> "Tensor":
        """Return the mixture."""
        return now + self.share * (own - now)

    def step(self, own: "Tensor", now: "Tensor", gradient: "Tensor", rate: float) -> None:
        """Move both, each by where the other was."""
        slope = (own - now) @ gradient
        own -= rate * self.share * gradient
        if self._adaptive:
            self.share = (self.share - rate * slope).clamp(0, 1)
