"""Fine-tuning: when the shared model is made, each hospital trains it on for itself."""

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

BEGUN = "begun"
"""Name of how many rounds a site has trained a model of its own."""


class FineTune(StrategyOptions):
    """FedAvg, whose model each site trains on for itself in the last rounds (Yu et al. 2020)."""

    at_site: ClassVar[str] = (
        "in the last rounds it trains a model of its own, which stays at this site and is judged"
    )

    name: Literal["finetune"]
    own_rounds: int = Field(
        1, ge=1, description="The last rounds of the job, in which each site trains for itself alone."
    )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield that there are no rounds before the last ones, or that they may never come."""
        if self.own_rounds >= job.job.rounds:
            yield "[strategy] own_rounds: must be below [job] rounds: nothing would be trained together"
        if job.evaluation.patience is not None:
            yield "[evaluation] patience: would end the run before the rounds in which 'finetune' begins"
        if job.privacy.noise == "distributed":
            yield (
                "[privacy] noise: can't be 'distributed' with 'finetune': a site's own model, whose figures "
                "it sends, would have only a share of the noise"
            )

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that goes on by itself."""
        return Onward(layout.size, self.own_rounds)


class Onward(SiteHalf):
    """Trains as FedAvg does, and in the last rounds a model of its own from the shared one.

    In these it sends the shared model back as it came: nothing that was trained there leaves.

    Args:
        size: Numbers of the network.
        own_rounds: How many rounds are the last ones.
    """

    def __init__(self, size: int, own_rounds: int) -> None:
        self._own_rounds = own_rounds
        self.keeps = {OWN: size, BEGUN: 1}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train the shared model, or from where the own one is."""
        alone = train.left < self._own_rounds
        model = train(self.judged(received, kept) if alone else received[MODEL]).model
        begun = (0 * model[:1] + 1) if alone else 0 * model[:1]
        return {MODEL: received[MODEL] if alone else model}, {OWN: begun * model, BEGUN: begun}

    def judged(self, received: Vectors, kept: Vectors) -> Vector:
        """Return the site's own model, once there is one."""
        return kept[OWN] if kept and kept[BEGUN][0] else received[MODEL]
