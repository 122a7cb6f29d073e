"""The strategies that a job may name: a table of options for each, with both halves of the strategy.

The registry is the list of what exists: policies, templates, tests and tables of docs come from it.
"""

from shared.registry import Registry
from shared.strategies.adaptive import FedAdagrad, FedAdam, FedYogi
from shared.strategies.apfl import APFL
from shared.strategies.coral import Coral
from shared.strategies.cyclic import Cyclic
from shared.strategies.ditto import Ditto
from shared.strategies.fair import AFL, QFedAvg
from shared.strategies.fedavg import FedAvg
from shared.strategies.fedavgm import FedAvgM
from shared.strategies.fedbn import FedBN
from shared.strategies.fedbuff import FedBuff
from shared.strategies.feddyn import FedDyn
from shared.strategies.fednova import FedNova
from shared.strategies.fedper import FedPer, FedRep
from shared.strategies.fedprox import FedProx
from shared.strategies.fedsam import FedSAM
from shared.strategies.finetune import FineTune
from shared.strategies.flame import Flame
from shared.strategies.moon import MOON
from shared.strategies.options import StrategyOptions
from shared.strategies.robust import (
    Bulyan,
    FedMedian,
    FedTrimmedAvg,
    GeometricMedian,
    Krum,
    MultiKrum,
    NormBound,
)
from shared.strategies.scaffold import Scaffold
from shared.strategies.swarm import Swarm

__all__ = ["STRATEGIES", "StrategyOptions"]

STRATEGIES = Registry(
    "wardround.strategies",
    (
        FedAvg,
        FedProx,
        FedAvgM,
        FedAdam,
        FedYogi,
        FedAdagrad,
        FedMedian,
        FedTrimmedAvg,
        Krum,
        MultiKrum,
        Scaffold,
        FedDyn,
        FedBN,
        Ditto,
        FedNova,
        FedPer,
        FedRep,
        FedSAM,
        FineTune,
        Bulyan,
        NormBound,
        GeometricMedian,
        QFedAvg,
        AFL,
        Cyclic,
        APFL,
        MOON,
        Swarm,
        FedBuff,
        Coral,
        Flame,
    ),
    StrategyOptions,
)
"""The options of each strategy, by its name in a job."""
