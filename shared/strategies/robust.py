"""Strategies that a few wrong updates can't lead astray: medians, trimmed means, Krum, bounded norms."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import FlowerOptions

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.strategies.flower_halves import CentralHalf


class RobustOptions(FlowerOptions):
    """Options of the strategies that look at every single update."""

    compares_updates: ClassVar[bool] = True


class FedMedian(RobustOptions):
    """Coordinate-wise median (Yin et al. 2018)."""

    name: Literal["fedmedian"]

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedMedian

        return FedMedian


class FedTrimmedAvg(RobustOptions):
    """Coordinate-wise trimmed mean (Yin et al. 2018)."""

    name: Literal["fedtrimmedavg"]
    beta: float = Field(0.2, ge=0, lt=0.5, description="Share cut off on either side.")

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedTrimmedAvg

        return FedTrimmedAvg


class KrumOptions(RobustOptions):
    """Options of Krum and of what is built on it.

    Attributes:
        least_per_malicious: How many sites there must be for each malicious one, beside three.
    """

    least_per_malicious: ClassVar[int] = 1

    malicious_sites: int = Field(0, ge=0, description="Sites assumed to be malicious.")

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield that there are too few sites for so many malicious ones."""
        least = self.least_per_malicious * self.malicious_sites + 3
        if self.min_sites < least:
            yield (
                f"[strategy] min_sites: {job.strategy.name} with {self.malicious_sites} malicious sites "
                f"needs at least {least} sites"
            )

    def flower_options(self) -> dict[str, Any]:
        """Return the options under Flower's names."""
        return {"num_malicious_nodes": self.malicious_sites}


class Krum(KrumOptions):
    """The single update nearest to its neighbours (Blanchard et al. 2017)."""

    name: Literal["krum"]

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import Krum

        return Krum


class MultiKrum(KrumOptions):
    """The mean of the updates nearest to their neighbours (Blanchard et al. 2017)."""

    name: Literal["multikrum"]
    selected_sites: int = Field(2, ge=1, description="Updates that are averaged.")

    def flower_options(self) -> dict[str, Any]:
        """Return the options under Flower's names."""
        return super().flower_options() | {"num_nodes_to_select": self.selected_sites}

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import MultiKrum

        return MultiKrum


class Bulyan(KrumOptions):
    """Of the updates that Krum trusts, the numbers nearest to their median (El Mhamdi et al. 2018)."""

    least_per_malicious: ClassVar[int] = 4

    name: Literal["bulyan"]

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import Bulyan

        return Bulyan


class NormBound(RobustOptions):
    """The mean of updates, cut down to the median norm; much longer ones are left out (Sun et al. 2019)."""

    name: Literal["normbound"]
    reject: float = Field(
        3.0, ge=1, description="An update this many times as long as the median one is left out."
    )

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.robust_halves import NormBound

        return NormBound


class GeometricMedian(RobustOptions):
    """RFA: the point from which all updates together are the least far (Pillutla et al. 2022)."""

    name: Literal["rfa"]
    steps: int = Field(10, ge=1, le=1000, description="Steps of Weiszfeld's algorithm.")

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.robust_halves import GeometricMedian

        return GeometricMedian
