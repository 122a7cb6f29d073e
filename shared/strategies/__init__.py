"""The strategies that a job may name: a table of options for each, with both halves of the strategy.

The union is the list of what exists: policies, templates, tests and the tables of docs/job.md come from it.
"""

from typing import Annotated, get_args

from pydantic import Field

from shared.strategies.adaptive import FedAdagrad, FedAdam, FedYogi
from shared.strategies.ditto import Ditto
from shared.strategies.fedavg import FedAvg
from shared.strategies.fedavgm import FedAvgM
from shared.strategies.fedbn import FedBN
from shared.strategies.fedprox import FedProx
from shared.strategies.options import StrategyOptions
from shared.strategies.robust import FedMedian, FedTrimmedAvg, Krum, MultiKrum
from shared.strategies.scaffold import Scaffold

__all__ = ["STRATEGIES", "Strategy", "StrategyOptions"]

Strategy = Annotated[
    FedAvg
    | FedProx
    | FedAvgM
    | FedAdam
    | FedYogi
    | FedAdagrad
    | FedMedian
    | FedTrimmedAvg
    | Krum
    | MultiKrum
    | Scaffold
    | FedBN
    | Ditto,
    Field(discriminator="name"),
]

STRATEGIES: dict[str, type[StrategyOptions]] = {
    get_args(options.model_fields["name"].annotation)[0]: options
    for options in get_args(get_args(Strategy)[0])
}
"""The options of each strategy, by its name in a job."""
