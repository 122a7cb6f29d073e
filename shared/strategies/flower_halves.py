"""What the coordinator makes of a round's answers.

These are Flower's strategies, made exact, resumable and kind to batch-norm statistics.
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from shared.strategies.exact_mean import ExactMean
from shared.wire.flat_array import view
from shared.wire.messages import ARRAYS, METRICS, VECTOR, vector_record
from shared.wire.packed_model import Layout

WEIGHT = "weight"  # metric under which the round loop puts how much a reply counts
_MOMENTS = ("m_t", "v_t")  # Flower's names for the moments of an adaptive optimiser
State = dict[str, NDArray[np.float32]]
Aggregated = tuple[ArrayRecord | None, MetricRecord | None]


class WholeSites(Protocol):
    """Hides whole sites in a mean."""

    def clip(self, vector: NDArray[np.float32]) -> NDArray[np.float32]: ...  # noqa: D102
    def noised(  # noqa: D102
        self, mean: NDArray[np.float32], sites: int, round_: int
    ) -> NDArray[np.float32]: ...


class CentralHalf(flower.FedAvg):
    """What all strategies here share. Who takes part is drawn by the round loop, not by Flower."""

    streaming: ClassVar[bool] = False  # updates are added as they arrive, in any order
    layout: Layout
    privacy: WholeSites | None = None  # of whole sites; for those that make a mean

    def state(self) -> State:
        """Return what must survive a restart."""
        return {}

    def restore(self, state: State) -> None:
        """Take up the state of an earlier process."""


class StreamingMean(CentralHalf):
    """FedAvg that adds each update as it arrives, with the same bits in any order (see `ExactMean`)."""

    streaming: ClassVar[bool] = True

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Return the weighted mean of the vectors and of the losses."""
        mean: ExactMean | None = None  # its memory is taken while the first sites work
        privacy = self.privacy
        losses: list[tuple[int, float]] = []  # of the sites that share theirs
        for reply in replies:
            mean = mean or ExactMean(self.layout.size)
            metrics = reply.content[METRICS]
            weight = metrics[WEIGHT]
            model = view(reply.content[ARRAYS][VECTOR])
            mean.add(model if privacy is None else privacy.clip(model), weight)
            del model
            reply.content[ARRAYS].clear()  # whoever brought it may hold it until the next is there
            if not math.isnan(metrics["loss"]):
                losses.append((weight, metrics["loss"]))
        if mean is None:
            return None, None
        vector, terms = mean.mean(), mean.terms
        del mean  # before the vector is copied: it is larger than all the rest
        if privacy is not None:
            vector = privacy.noised(vector, terms, server_round)
        self.buffers = vector[self.layout.parameters :].copy()
        total = math.fsum(weight for weight, _ in losses)
        loss = math.fsum(weight * value for weight, value in losses) / total if losses else math.nan
        return vector_record(vector), MetricRecord({"loss": loss})


class ServerOptimized(CentralHalf):
    """The mean update drives an optimiser at the server.

    Batch-norm statistics are not parameters: an optimiser's step could make a variance negative, so they take
    their plain mean.
    """

    buffers: NDArray[np.float32]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Make one step of the optimiser; the result is float32 whatever precision it computed in."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None:
            return None, metrics
        vector = view(arrays[VECTOR]).astype(np.float32)
        vector[self.layout.parameters :] = self.buffers
        return vector_record(vector), metrics

    def state(self) -> State:
        """Return the moments of the optimiser."""
        moments = {name: getattr(self, name) for name in _MOMENTS}
        return {name: moment[VECTOR] for name, moment in moments.items() if moment}

    def restore(self, state: State) -> None:
        """Take up the moments of an earlier process."""
        for name, moment in state.items():
            setattr(self, name, {VECTOR: moment})


class FedAdam(ServerOptimized, flower.FedAdam, StreamingMean):
    """Adam at the server (Reddi et al. 2020, algorithm 2)."""


class UncorrectedAdam(FedAdam):
    """The same without Adam's correction of its first moments, as the algorithm is written."""

    eta: float

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Make one step of the size that Flower's correction turns into `eta`."""
        eta, rounds = self.eta, server_round + 1.0
        self.eta = eta * (1 - self.beta_1**rounds) / math.sqrt(1 - self.beta_2**rounds)
        try:
            return super().aggregate_train(server_round, replies)
        finally:
            self.eta = eta


class FedYogi(ServerOptimized, flower.FedYogi, StreamingMean):
    """Yogi at the server (Reddi et al. 2020, algorithm 2)."""


class FedAdagrad(ServerOptimized, flower.FedAdagrad, StreamingMean):
    """Adagrad at the server (Reddi et al. 2020, algorithm 2).

    Args:
        beta_1: Decay of the first moment, which Flower's own has not.
        options: Flower's.
    """

    def __init__(self, *, beta_1: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.beta_1 = beta_1


class FedAvgM(ServerOptimized, flower.FedAvgM, StreamingMean):
    """Momentum at the server (Hsu et al. 2019)."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Start from the model that is sent; the one that Flower remembers is lost with the process."""
        self.current_arrays = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def state(self) -> State:
        """Return the momentum."""
        return {} if self.momentum_vector is None else {"momentum": self.momentum_vector[0]}

    def restore(self, state: State) -> None:
        """Take up the momentum of an earlier process."""
        self.momentum_vector = [state["momentum"]] if "momentum" in state else None


class Robust(CentralHalf):
    """Strategies that look at every single update, so they hold all of them at once."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Aggregate; the result is float32 whatever precision the strategy computed in."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None:
            return None, metrics
        return vector_record(view(arrays[VECTOR]).astype(np.float32)), metrics


class FedMedian(Robust, flower.FedMedian):
    """Coordinate-wise median (Yin et al. 2018)."""


class FedTrimmedAvg(Robust, flower.FedTrimmedAvg):
    """Coordinate-wise trimmed mean (Yin et al. 2018)."""


class Krum(Robust, flower.Krum):
    """The update nearest to its neighbours (Blanchard et al. 2017)."""


class Bulyan(Robust, flower.Bulyan):
    """What is near the median of the updates nearest to their neighbours (El Mhamdi et al. 2018)."""


class MultiKrum(Robust, flower.MultiKrum):
    """The mean of the updates nearest to their neighbours (Blanchard et al. 2017)."""


def make(
    kind: type[CentralHalf], layout: Layout, privacy: WholeSites | None = None, **options: Any
) -> CentralHalf:
    """Return a strategy, with Flower's names for its options.

    Args:
        kind: One of those above.
        layout: Of what travels.
        privacy: Hides whole sites in the mean, for the strategies that make one.
        options: Flower's.
    """
    strategy = kind(
        min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, weighted_by_key=WEIGHT, **options
    )
    strategy.layout = layout
    strategy.privacy = privacy
    return strategy
