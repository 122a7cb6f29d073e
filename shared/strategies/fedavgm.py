"""FedAvgM: momentum at the coordinator."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.strategies.options import FlowerOptions

if TYPE_CHECKING:
    from shared.strategies.flower_halves import CentralHalf


class FedAvgM(FlowerOptions):
    """FedAvg with server momentum (Hsu et al. 2019)."""

    name: Literal["fedavgm"]
    server_learning_rate: float = Field(1.0, gt=0, description="Step along the averaged update.")
    server_momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of the averaged update.")

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.flower_halves import FedAvgM

        return FedAvgM
