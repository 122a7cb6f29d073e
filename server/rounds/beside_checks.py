"""What a site may send beside its model: numbers that its work, as the job has it, can give."""

import numpy as np

from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.strategies.vectors import Vector
from shared.strategies.wire import Wire
from shared.wire.messages import MessageError

_SLACK = 1e-3  # numbers behind masks are in fixed point


class BesideChecks:
    """Holds the vectors beside a model against the bounds that the strategy names.

    Args:
        job: Has the strategy.
        wire: Says where they stand.
    """

    def __init__(self, job: JobSpec, wire: Wire) -> None:
        self._job = job
        self._wire = wire

    def check_update(self, vector: Vector, examples: int) -> None:
        """Check what a site sent, shape (layout.size,).

        Args:
            vector: The update.
            examples: That the site described.

        Raises:
            MessageError: A number of it is not within its bounds.
        """
        if problem := self._problem(vector, examples):
            raise MessageError(f"sends {problem}")

    def check_mean(self, vector: Vector, examples: int) -> None:
        """Check what all sites sent together: all there is to look at where a sum hides the single ones.

        Args:
            vector: Their mean, shape (layout.size,).
            examples: Of the site that described most.

        Raises:
            RunError: A number of it is not within its bounds.
        """
        if problem := self._problem(vector, examples):
            raise RunError(
                f"the sites of a round together send {problem}",
                remedy="One of them works wrongly, or lies: ask them, and go on with --resume.",
            )

    def _problem(self, vector: Vector, examples: int) -> str:
        beside, place = self._wire.beside, vector.size - sum(self._wire.beside.values())
        bounds = self._job.strategy.bounds(self._job, examples) if beside else {}
        for name, size in beside.items():
            least, most = bounds.get(name, (-np.inf, np.inf))
            values, place = vector[place : place + size], place + size
            outside = values[~((values >= least - _SLACK) & (values <= most + _SLACK))]
            if outside.size:
                return f"{outside[0]:g} as '{name}', which is between {least:g} and {most:g}"
        return ""
