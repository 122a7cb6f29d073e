"""FedAvg: the weighted mean of the models."""

from typing import Literal

from shared.strategies.options import StrategyOptions


class FedAvg(StrategyOptions):
    """Weighted mean of the models (McMahan et al. 2017)."""

    name: Literal["fedavg"]
