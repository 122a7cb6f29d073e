"""What every strategy says in a job, and what it is asked for. Neither PyTorch nor Flower is loaded here."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.strategies.vectors import SiteHalf, Vectors
from shared.table import Table, later_key

if TYPE_CHECKING:
    from torch import nn

    from shared.job.schema import JobSpec
    from shared.strategies.flower_halves import CentralHalf, WholeSites
    from shared.wire.packed_model import Layout

WAIT = 7 * 86400.0  # seconds


class StrategyOptions(Table):
    """What every strategy has: who takes part and how much each site counts.

    Attributes:
        compares_updates: Whether the coordinator looks at each site's update by itself, so that neither their
            sum nor their mean is enough.
        tells_loss: Whether what a site sends tells its training loss, which its policy may keep.
        in_turn: Whether `turn` names the sites that train in each round; all judge the model then.
        at_site: What it does at a site besides training once and sending the model, for whoever approves it.
    """

    compares_updates: ClassVar[bool] = False
    tells_loss: ClassVar[bool] = False
    in_turn: ClassVar[bool] = False
    at_site: ClassVar[str] = ""

    name: str
    min_sites: int = Field(
        2, ge=1, le=10_000, description="A round with fewer answers fails, and the run stops."
    )
    min_patients: int = Field(
        1,
        ge=1,
        description="A site with fewer training patients does not train. With validation or test patients it "
        "judges the models, otherwise it is left out; the run says so.",
    )
    fraction: float = Field(1.0, gt=0, le=1, description="Share of the sites drawn for each round.")
    weight: Literal["examples", "equal"] = Field(
        "examples", description="A site counts by its training examples, or as much as any other."
    )
    largest_share: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Share of the mean that one site's update may have at most; a larger weight is cut down "
        "to it. With n sites 1/n is always allowed.",
    )
    round_timeout: float = Field(3600.0, gt=0, description="Seconds after which a round stops waiting.")
    wait: float = later_key(
        WAIT,
        ge=0,
        le=366 * 86400.0,
        description="Seconds that a run waits for its sites at most: it begins once min_sites can train and "
        "every site that is connected has said yes or no. 0 begins as soon as min_sites can train, and "
        "gives up after round_timeout.",
    )
    quorum: float = Field(
        2 / 3,
        gt=0,
        le=1,
        description="Share of the sites asked, and at least min_sites, after whose answers stragglers have "
        "`grace` left. 1 waits for all.",
    )
    grace: float | None = Field(
        None,
        ge=0,
        description="Seconds for stragglers after the quorum; without it the larger of 10 s and four times "
        "what the quorum took.",
    )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what of a job the strategy can't work with, naming table and key."""
        yield from ()

    def sends(self, layout: "Layout") -> Mapping[str, int]:
        """Return the length of each vector that travels beside the model, by name; they begin as zeros.

        Args:
            layout: Of the network as it travels.
        """
        return {}

    def bounds(self, job: "JobSpec", examples: int) -> Mapping[str, tuple[float, float]]:
        """Return the least and the largest number that a site can send in each vector beside the model.

        What a site sends is a claim: one outside of its bounds is refused.

        Args:
            job: Says how much a site works.
            examples: About how many images the site trains on.

        Returns:
            Of those of `sends` whose numbers are bounded.
        """
        return {}

    def personal(self, model: "nn.Module") -> frozenset[str]:
        """Return the names of the tensors of a network that never leave a site.

        Raises:
            JobError: The strategy needs some, and the network has none.
        """
        return frozenset()

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return what a site does in a round.

        Args:
            layout: Of the whole network.
            personal: As `personal` gave it.
        """
        return SiteHalf()

    def centre(self, layout: "Layout", privacy: "WholeSites | None" = None) -> "CentralHalf":
        """Return what the coordinator makes of the answers of a round: here, their exact weighted mean.

        Args:
            layout: Of what travels.
            privacy: Hides whole sites in the mean; for the strategies that make one.
        """
        from shared.strategies.flower_halves import StreamingMean, make

        return make(StreamingMean, layout, privacy)

    def turn(self, sites: Sequence[str], round_: int, seed: int) -> Sequence[str]:
        """Return the names of the sites that train in a round, where they train in turn.

        Args:
            sites: That can train, by name.
            round_: The round, from 1.
            seed: Of the job.
        """
        raise NotImplementedError

    def remembers(self, layout: "Layout") -> Mapping[str, int]:
        """Return the length of each vector that the coordinator keeps between rounds, by name.

        They begin as zeros, are in the checkpoint, and never leave the coordinator.

        Args:
            layout: Of the network as it travels.
        """
        return {}

    def conclude(
        self, mean: Vectors, before: Vectors, kept: Vectors, share: float
    ) -> tuple[Vectors, Vectors]:
        """Make of a round's mean what is sent in the next.

        Args:
            mean: What `centre` has made of the answers.
            before: What was sent in this round.
            kept: From the round before: all of `remembers`.
            share: Of the sites that could train so far, those whose answers are in the mean.

        Returns:
            What is sent in the next round, and what the coordinator keeps for it: all of `remembers`.
        """
        return mean, {}

    def joined(self, concluded: Vectors, before: Vectors, share: float) -> Vectors:
        """Return what is sent in the next round, after one in which sites took part that came later.

        Args:
            concluded: As `conclude` gave it.
            before: What was sent in this round.
            share: Of the sites that could train so far, those that could before.
        """
        return concluded

    def diluted(self, kept: Vectors, share: float) -> Vectors:
        """Return what the coordinator keeps, before a round with sites that came later is concluded.

        Args:
            kept: From the round before: all of `remembers`.
            share: Of the sites that could train so far, those that could before.
        """
        return kept


class FlowerOptions(StrategyOptions):
    """Options of the strategies whose central half is Flower's."""

    @abstractmethod
    def half(self) -> "type[CentralHalf]":
        """Return Flower's strategy, made exact and resumable."""

    def flower_options(self) -> dict[str, Any]:
        """Return Flower's options: here those of the job, which have the same names."""
        own = type(self).model_fields.keys() - StrategyOptions.model_fields.keys() - {"name"}
        return {key: getattr(self, key) for key in own}

    def centre(self, layout: "Layout", privacy: "WholeSites | None" = None) -> "CentralHalf":
        """Return Flower's strategy with the options of the job."""
        from shared.strategies.flower_halves import make

        return make(self.half(), layout, privacy, **self.flower_options())
