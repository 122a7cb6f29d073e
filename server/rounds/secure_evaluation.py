"""An evaluation under secure aggregation: the coordinator learns the sum of the metric states alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord
from numpy.typing import NDArray

from server.rounds.federation import Federation
from server.rounds.missing_sites import MissingSitesError
from server.rounds.secure_sum import Plan, SecureSum
from server.runs.events import Event, Listener
from shared.job.schema import JobSpec
from shared.metrics.grouped import GroupedMetrics
from shared.privacy.secagg.errors import FewerBehindError, SecureAggregationError, TooFewJudgesError
from shared.privacy.secagg.metric_sum import decode_states
from shared.privacy.secagg.records import TEST
from shared.strategies.flower_halves import WEIGHT
from shared.tasks.base import Task
from shared.wire import messages


@dataclass(frozen=True)
class SummedMetrics:
    """What an evaluation brought.

    Attributes:
        metrics: Of all sites together, and of groups of their patients.
        rows: For each site that was in the sum its round, name, phase, seconds and bytes.
        message: A reply for the strategy, with the weight of all; None where no site judged the model.
    """

    metrics: GroupedMetrics
    rows: list[dict[str, Any]]
    message: Message | None


class SecureEvaluation:
    """Evaluates models by masked sums.

    Args:
        federation: Carries the messages.
        job: What is asked.
        listen: Told of every site that is done, and of an evaluation that came to nothing.
    """

    def __init__(self, federation: Federation, job: JobSpec, listen: Listener) -> None:
        self._federation = federation
        self._job = job
        self._listen = listen

    def metrics(
        self, asked: list[Message], round_: int, split: str, task: Task, edges: NDArray[np.float64] | None
    ) -> SummedMetrics:
        """Return the metrics of a split; empty ones where no sum would hide each site.

        Args:
            asked: What asks each site to evaluate.
            round_: Number of the round.
            split: ``val`` or ``test``.
            task: Of the job.
            edges: Of the bins of scores, as they were sent.

        Raises:
            RunError: The test came to nothing: without it the run isn't over.
        """
        if not asked:  # a simulation repeats a run in which nobody judged
            return SummedMetrics(GroupedMetrics.of(task, edges, split), [], None)
        try:
            return self._metrics(asked, round_, split, task, edges)
        except SecureAggregationError as error:
            if split == TEST and not isinstance(error, TooFewJudgesError):
                raise MissingSitesError(
                    f"secure aggregation: {error.problem}",
                    where="test",
                    remedy="Nothing of a single site was revealed. Once the sites are back, go on with "
                    "--resume.",
                ) from None
            self._listen(Event("not_evaluated", round_, phase=split, data={"reason": error.problem}))
            return SummedMetrics(GroupedMetrics.of(task, edges, split), [], None)

    def _metrics(
        self, asked: list[Message], round_: int, split: str, task: Task, edges: NDArray[np.float64] | None
    ) -> SummedMetrics:
        metrics = GroupedMetrics.of(task, edges, split)
        plan = Plan(self._job, round_, split, metrics.pack().size, 0)
        secure = SecureSum(self._federation, plan, asked, self._listen)
        try:
            rows = secure.gather()
        except FewerBehindError:  # who is left folds to fewer bins; each site answers once more
            secure = SecureSum(self._federation, plan, secure.asked_of_those_left(), self._listen)
            rows = secure.gather()
        server = secure.server
        decode_states(server.total(), metrics, server.roster_claims.values())
        message = secure.last
        assert message is not None  # noqa: S101 (a threshold of sites has answered)
        message.content.clear()
        images = max(1, sum(claims.weight for claims in server.claims.values()))
        message.content[messages.METRICS] = MetricRecord({WEIGHT: images})
        return SummedMetrics(metrics, rows, message)
