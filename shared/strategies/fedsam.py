"""FedSAM: sites look for flat minima, which stay minima when models are averaged."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout


class FedSAM(StrategyOptions):
    """FedAvg of sites that step by the gradient at the worst point nearby (Qu et al. 2022)."""

    at_site: ClassVar[str] = "goes through each batch twice, which takes twice the time"

    name: Literal["fedsam"]
    radius: float = Field(0.05, gt=0, description="How far away the worst point is looked for (rho).")

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what a second gradient of each step can't be had with."""
        if job.privacy.mechanism == "dp-sgd":
            yield (
                "[strategy] name: 'fedsam' asks the same patients for a second gradient in each step, and "
                "the noise of 'dp-sgd' is planned for one"
            )
        if job.training.precision == "float16":
            yield "[training] precision: can't be 'float16' with 'fedsam', whose first gradient may overflow"

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that looks uphill."""
        return Flat(self.radius)


class Flat(SiteHalf):
    """Steps by ∇L(w + ρ ∇L(w) / ‖∇L(w)‖), the minimax of Foret et al. 2021 (equation 5 of Qu et al.).

    Where a step has several phases, each looks along its own gradient.

    Args:
        radius: ρ.
    """

    def __init__(self, radius: float) -> None:
        self._radius = radius

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train once, looking uphill in each step."""
        return {MODEL: train(received[MODEL], radius=self._radius).model}, {}
