"""FedAdam, FedYogi and FedAdagrad: an adaptive optimiser at the coordinator."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.strategies.options import FlowerOptions

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

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedAdam

        return FedAdam


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

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedAdagrad

        return FedAdagrad
