"""The model of the last round as the mean of those of the last rounds, where a job asks for it."""

import numpy as np
from numpy.typing import NDArray

from shared.job.schema import JobSpec

Vector = NDArray[np.float32]
_MEAN = "mean of the last rounds"


class LastRounds:
    """Averages the models of the last rounds (Izmailov et al., UAI 2018: "stochastic weight averaging").

    Nothing is chosen, so no validation patient is needed, and none was looked at too often.

    Args:
        job: Says over how many rounds.
    """

    def __init__(self, job: JobSpec) -> None:
        self._rounds = job.job.rounds
        self._number = job.evaluation.average_last or 1
        self._mean: Vector | None = None

    def __call__(self, round_: int, vector: Vector) -> Vector:
        """Return the model after a round: of the last one the mean of the last ones."""
        place = round_ - (self._rounds - self._number)  # from 1 in the rounds that count
        if self._number == 1 or place < 1:
            return vector
        # Numbers that never change stay as they are, to the last bit.
        before = vector if self._mean is None else self._mean
        self._mean = before + (vector - before) / np.float32(place)
        return self._mean if round_ == self._rounds else vector

    def state(self) -> dict[str, Vector]:
        """Return what must survive a restart."""
        return {} if self._mean is None else {_MEAN: self._mean}

    def restore(self, state: dict[str, Vector]) -> None:
        """Take what an earlier process remembered out of the state."""
        self._mean = state.pop(_MEAN, None)
