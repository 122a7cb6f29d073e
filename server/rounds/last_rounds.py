"""The model of the last round as a mean of those of the rounds before it, where a job asks for it."""

import numpy as np
from numpy.typing import NDArray

from shared.job.schema import JobSpec

Vector = NDArray[np.float32]
_MEAN = "mean of the last rounds"


class LastRounds:
    """Averages the models of rounds: the last ones alike, or all with weights that fall by a factor.

    The first is stochastic weight averaging (Izmailov et al., UAI 2018), the second the exponential moving
    average of weights (Polyak and Juditsky 1992; Yazici et al., ICLR 2019, for generators) with weights that
    add up to one, so that the first model has no larger say than its round.

    Nothing is chosen, so no validation patient is needed, and none was looked at too often. Sites train on
    with the model of each round, as it is.

    Args:
        job: Says over how many rounds, or by which factor.
    """

    def __init__(self, job: JobSpec) -> None:
        self._rounds = job.job.rounds
        self._number = job.evaluation.average_last or 1
        self._decay = job.evaluation.average_decay
        self._mean: Vector | None = None

    def __call__(self, round_: int, vector: Vector) -> Vector:
        """Return the model after a round: of the last one the mean."""
        parts = self._parts(round_)
        if parts is None:
            return vector
        # Numbers that never change stay as they are, to the last bit.
        before = vector if self._mean is None else self._mean
        self._mean = before + (vector - before) / np.float32(parts)
        return self._mean if round_ == self._rounds else vector

    def _parts(self, round_: int) -> float | None:
        """Return one over the weight of a round's model in the mean up to it; None where it is in none."""
        if self._decay is not None:
            return float((1 - self._decay**round_) / (1 - self._decay))
        place = round_ - (self._rounds - self._number)  # from 1 in the rounds that count
        return None if self._number == 1 or place < 1 else place

    def state(self) -> dict[str, Vector]:
        """Return what must survive a restart."""
        return {} if self._mean is None else {_MEAN: self._mean}

    def restore(self, state: dict[str, Vector]) -> None:
        """Take what an earlier process remembered out of the state."""
        self._mean = state.pop(_MEAN, None)
