"""What an erased run keeps of the run before it, and how its own updates are calibrated by that.

FedEraser (Liu, Ma, Yang, Wang and Liu, IWQoS 2021): the sites that stay train again for fewer steps; their
updates give the direction, those of the run before the length. The first round needs no training: it began
with the same model, so the updates of that time are as good.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from shared.wire import messages
from simulate.session.watched_grid import WatchedGrid
from simulate.workers import Workers

Vector = NDArray[np.float32]


@dataclass
class Kept:
    """What is kept of a run.

    Attributes:
        parameters: Numbers that training moves; they stand first in a vector. Others, such as the statistics
            of batch norm, have no length that could be calibrated.
        norms: L2 norm of each update, by round and site.
        first: The models that the sites sent in the first round.
    """

    parameters: int
    norms: dict[tuple[int, str], float] = field(default_factory=dict)
    first: dict[str, Vector] = field(default_factory=dict)

    def note(self, round_: int, site: str, sent: Vector, trained: Vector) -> None:
        """Keep what is needed of an update."""
        self.norms[round_, site] = self._length(sent, trained)
        if round_ == 1:
            self.first[site] = trained.copy()

    def calibrated(self, round_: int, site: str, sent: Vector, trained: Vector) -> Vector:
        """Return a model whose update has the length that it had; in the first round the model of that time.

        A site that did not train in a round of the run before keeps its own length.
        """
        if round_ == 1 and site in self.first:
            return self.first[site]
        length, wanted = self._length(sent, trained), self.norms.get((round_, site))
        if wanted is None or length == 0:
            return trained
        found = trained.copy()
        moved = trained[: self.parameters] - sent[: self.parameters]
        found[: self.parameters] = sent[: self.parameters] + np.float32(wanted / length) * moved
        return found

    def _length(self, sent: Vector, trained: Vector) -> float:
        moved = trained[: self.parameters].astype(np.float64) - sent[: self.parameters]
        return float(np.sqrt((moved**2).sum()))


class ErasingGrid(WatchedGrid):
    """A Grid that keeps what an erasing needs of each update, or calibrates each one by it.

    Args:
        workers: As for `LocalGrid`.
        sites: As for `LocalGrid`.
        kept: Of the run before; filled where `calibrates` is False.
        calibrates: Whether updates are changed.
    """

    def __init__(self, workers: Workers, sites: Iterable[str], kept: Kept, *, calibrates: bool) -> None:
        super().__init__(workers, sites)
        self._kept = kept
        self._calibrates = calibrates

    def take(self, site: str, question: Message, reply: Message) -> None:
        """See the base class."""
        round_ = int(question.content[messages.CONFIG]["round"])
        sent, trained = (message.content[messages.ARRAYS] for message in (question, reply))
        before, after = (record[messages.VECTOR].numpy() for record in (sent, trained))
        if not self._calibrates:
            self._kept.note(round_, site, before, after)
            return
        reply.content[messages.ARRAYS] = messages.vector_record(
            self._kept.calibrated(round_, site, before, after)
        )
