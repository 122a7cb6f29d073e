"""FedAdam, FedYogi and FedAdagrad: an adaptive optimiser at the coordinator."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from shared.strategies.options import FlowerOptions
from shared.table import later_key

if TYPE_CHECKING:
    from shared.strategies.flower_halves import CentralHalf


class ServerOptimizer(FlowerOptions):
    """Adaptive server optimisers (Reddi et al. 2020)."""

    eta: float = Field(0.01, gt=0, description="Server learning rate.")
    tau: float = Field(1e-3, gt=0, description="Degree of adaptability.")


class Moments(ServerOptimizer):
    """Those with two moments."""

    beta_1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta_2: float = Field(0.99, ge=0, lt=1, description="Decay of the second moment.")


class FedAdam(Moments):
    """Adam on the mean update (Reddi et al. 2020)."""

    name: Literal["fedadam"]
    bias_correction: bool = later_key(
        True,
        description="Adam's correction of its first moments (Kingma and Ba 2015), as Flower makes it. "
        "Algorithm 2 of the paper has none; its first steps are then much larger.",
    )

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedAdam, UncorrectedAdam

        return FedAdam if self.bias_correction else UncorrectedAdam

    def flower_options(self) -> dict[str, Any]:
        """Return the options that Flower has."""
        options = super().flower_options()
        del options["bias_correction"]
        return options


class FedYogi(Moments):
    """Yogi on the mean update (Reddi et al. 2020)."""

    name: Literal["fedyogi"]

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedYogi

        return FedYogi


class FedAdagrad(ServerOptimizer):
    """Adagrad on the mean update (Reddi et al. 2020)."""

    name: Literal["fedadagrad"]
    beta_1: float = later_key(0.0, ge=0, lt=1, description="Decay of the first moment; 0 has none.")

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedAdagrad

        return FedAdagrad
