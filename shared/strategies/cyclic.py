"""Cyclic weight transfer: the model goes from site to site."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class OneAtATime(StrategyOptions):
    """Options of the strategies under which one site trains in each round, from what another has trained."""

    in_turn: ClassVar[bool] = True

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what asks for several sites at once."""
        if self.min_sites != 1:
            yield f"[strategy] min_sites: must be 1 under '{self.name}': one site trains in each round"
        if self.fraction != 1:
            yield f"[strategy] fraction: can't be used with '{self.name}', which takes one site in turn"
        if job.privacy.secure_aggregation:
            yield (
                f"[privacy] secure_aggregation: can't be had with '{self.name}': the next site gets what one "
                "site alone has trained"
            )
        if job.privacy.mechanism == "site-level" or job.privacy.noise == "distributed":
            yield f"[privacy] under '{self.name}' a round has one site, whose update needs noise of its own"


class Cyclic(OneAtATime):
    """One site trains in each round, and hands the model on to the next (Chang et al. 2018).

    All sites have their turn once each time around; the coordinator passes the model on.
    """

    at_site: ClassVar[str] = "what this site alone has trained goes on to another site"

    name: Literal["cyclic"]
    order: Literal["name", "drawn"] = Field(
        "name", description="Of the sites: by name, or drawn anew by the seed for each time around."
    )

    def turn(self, sites: Sequence[str], round_: int, seed: int) -> Sequence[str]:
        """Return whose turn it is, as the order says."""
        import numpy as np

        from shared.seeds import seed_of

        around, place = divmod(round_ - 1, len(sites))
        if self.order == "name":
            return [sites[place]]
        order = np.random.default_rng(seed_of(seed, "turn", around)).permutation(len(sites))
        return [sites[int(order[place])]]
