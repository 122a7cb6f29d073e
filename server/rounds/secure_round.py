"""Training under secure aggregation: the coordinator learns the mean of the updates and no single one."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord
from numpy.typing import NDArray

from server.rounds.federation import Federation
from server.rounds.missing_sites import MissingSitesError
from server.rounds.secure_sum import Plan, SecureSum
from server.runs.events import Listener
from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from shared.passport.sums import RoundSum
from shared.privacy.filters import UpdateFilter
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import EXTRAS
from shared.privacy.secagg.records import TRAIN
from shared.privacy.secagg.sum_hash import BLIND
from shared.strategies.flower_halves import WEIGHT
from shared.wire import messages


class SecureRound:
    """One round of training.

    Args:
        federation: Carries the messages.
        job: What is asked.
        round_: Number of the round.
        update_filter: Says which part of the model is in the sum.
        base: The model that is sent out; what is not in the sum stays as it is there.
        run: Keeps the sum, where the job asks for it.
        listen: Told of every site that is done.

    Attributes:
        asked: Bytes that went out to all sites, besides the model.
    """

    def __init__(
        self,
        federation: Federation,
        job: JobSpec,
        round_: int,
        *,
        update_filter: UpdateFilter,
        base: NDArray[np.float32],
        run: RunFolder,
        listen: Listener,
    ) -> None:
        self._federation = federation
        hashed = job.privacy.verifiable_sum
        extras = EXTRAS + BLIND if hashed else EXTRAS
        self._plan = Plan(job, round_, TRAIN, update_filter.size, extras, hashed=hashed)
        self._run = run
        self._filter = update_filter
        self._base = base
        self._listen = listen
        self.asked = 0

    def updates(self, asked: Iterable[Message], rows: list[dict[str, Any]]) -> Iterator[Message]:
        """Yield the mean of all updates as if it were the update of one site, of weight one.

        Args:
            asked: What the strategy asks of each site.
            rows: Gets a row for each site in the sum.

        Raises:
            RunError: Too few sites are left, or what they sent does not fit together.
        """
        try:
            yield self._mean_of(list(asked), rows)
        except SecureAggregationError as error:
            raise MissingSitesError(
                f"secure aggregation: {error.problem}",
                where=f"round {self._plan.round}",
                remedy="Nothing of a single site was revealed. Once the sites are back, go on with --resume.",
            ) from None

    def _mean_of(self, asked: list[Message], rows: list[dict[str, Any]]) -> Message:
        secure = SecureSum(self._federation, self._plan, asked, self._listen)
        rows += secure.gather()
        self.asked = secure.asked_bytes
        mean = secure.server.mean(self._plan.job.strategy.largest_share)
        if self._plan.hashed:
            digest, total = self._plan.job.digest(), secure.server.unmasked
            self._run.keep_sum(self._plan.round, RoundSum(total, secure.signed).checked(digest).to_bytes())
        message = secure.last
        assert message is not None  # noqa: S101 (a threshold of sites has answered)
        message.content.clear()
        message.content[messages.ARRAYS] = messages.vector_record(
            self._filter.expand(mean.vector, self._base)
        )
        message.content[messages.METRICS] = MetricRecord({WEIGHT: 1, "loss": mean.loss})
        return message
