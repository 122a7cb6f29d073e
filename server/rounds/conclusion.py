"""What a strategy makes of a round's mean at the coordinator, and what it remembers there."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from server.rounds.last_rounds import LastRounds
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.strategies.vectors import Vectors, misfit
from shared.strategies.wire import Wire

_KEPT = "kept."
Vector = NDArray[np.float32]


class Conclusion:
    """Calls the strategy at the end of each round, and keeps what it wants kept.

    Args:
        job: Has the strategy, and says over how many of the last rounds the model is averaged.
        wire: Says which vectors there are, and how long they are.
    """

    def __init__(self, job: JobSpec, wire: Wire) -> None:
        self._strategy = job.strategy
        self._last = LastRounds(job)
        self._wire = wire
        self._kept = {name: np.zeros(size, np.float32) for name, size in wire.remembered.items()}

    def __call__(
        self, mean: Vector, sent: Vector, share: float, share_before: float, *, round_: int
    ) -> Vector:
        """Return what is sent in the next round.

        Args:
            mean: Of the answers of a round, shape (layout.size,).
            sent: In the round, shape (layout.size,).
            share: Of the sites that could train so far, those whose answers are in the mean.
            share_before: Of the same, those that could before this round; 1 where none is new.
            round_: Its number.

        Raises:
            RunError: The strategy gives something else than it said, or a number that is not finite.
        """
        wire, strategy, before = self._wire, self._strategy, self._wire.split(sent)
        known = self._kept if share_before == 1 else strategy.diluted(self._kept, share_before)
        concluded, kept = strategy.conclude(wire.split(mean), before, known, share)
        if share_before < 1:
            concluded = strategy.joined(concluded, before, share_before)
        self._kept = self._checked(kept, wire.remembered)
        return self._last(round_, wire.join(self._checked(concluded, wire.lengths)))

    def state(self) -> dict[str, Vector]:
        """Return what must survive a restart."""
        return {_KEPT + name: vector for name, vector in self._kept.items()} | self._last.state()

    def restore(self, state: dict[str, Vector]) -> None:
        """Take what an earlier process remembered out of the state; in the first round there is nothing."""
        self._last.restore(state)
        names = [name for name in state if name.startswith(_KEPT)]
        found = {name.removeprefix(_KEPT): state.pop(name) for name in names}
        if found:
            self._kept = self._checked(found, self._wire.remembered)

    def _checked(self, vectors: Vectors, lengths: Mapping[str, int]) -> dict[str, Vector]:
        if reason := misfit(vectors, lengths):
            raise RunError(f"the strategy '{self._strategy.name}' concludes otherwise than it said: {reason}")
        found = {name: vector.astype(np.float32, copy=False) for name, vector in vectors.items()}
        if not all(np.isfinite(vector).all() for vector in found.values()):
            raise RunError(
                f"the strategy '{self._strategy.name}' made a number that is not finite at the coordinator",
                remedy="Take smaller steps: [training] learning_rate, or the strategy's own rate.",
            )
        return found
