"""A site's half of a strategy at work: it trains as often, and from what, the strategy says."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.private_training import PrivateTraining
from client.training import LocalTraining, diverged
from client.workshop import Bench
from shared.strategies.vectors import Pull, Trained, Vectors


class Passes:
    """Trains on the site's images for one round; a `shared.strategies.vectors.Train`.

    Args:
        bench: The job's.
        make: Returns the training of the round, with an optimiser of its own.
        round_: The round.
        site: Its name, for errors.

    Attributes:
        losses: Mean loss of each pass so far.
    """

    def __init__(
        self, bench: Bench, make: Callable[[], LocalTraining | PrivateTraining], round_: int, site: str
    ) -> None:
        self._bench = bench
        self._training = make()
        self._make = make
        self._round = round_
        self._site = site
        self.losses: list[float] = []

    def __call__(self, model: NDArray[np.float32], pull: Pull | None = None) -> Trained:
        """Train from a model.

        Raises:
            TrainingError: The loss is no longer a number.
        """
        self._bench.state.unpack(model)
        training = self._make() if self.losses else self._training
        trained = training.run(self._round, pull)
        self.losses.append(trained.loss)
        return Trained(self._bench.state.pack(), trained.rates)

    def place(self, model: NDArray[np.float32]) -> Tensor:
        """Return the trainable parameters of a vector as a pull gets them."""
        return self._training.place(model)


def check_finite(vectors: Vectors, site: str, round_: int) -> None:
    """Check what a round has brought: after its last step no loss was computed.

    Raises:
        TrainingError: A number is not finite.
    """
    if not all(np.isfinite(vector).all() for vector in vectors.values()):
        raise diverged(site, round_)
