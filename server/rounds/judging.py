"""How a model is judged: the sites' metric states added up, as they come or behind masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from server.rounds.answer_checks import check_evaluation
from server.rounds.deciding import chosen, entries, require_one_model
from server.rounds.federation import DrawnGrid, Federation, Member
from server.rounds.score_bins import edges_for
from server.rounds.secure_evaluation import SecureEvaluation
from server.runs.checkpoint import Best
from server.runs.events import Event, Listener
from shared.job.schema import JobSpec
from shared.metrics.curves import Curves
from shared.metrics.grouped import GroupedMetrics
from shared.strategies.flower_halves import WEIGHT, CentralHalf
from shared.strategies.wire import Wire
from shared.tasks.base import Task
from shared.wire import messages

Scores = dict[str, float]


@dataclass(frozen=True)
class Judged:
    """A model's metrics on one split: of all sites together, and of each.

    Attributes:
        sites: Metrics of each site that was asked and answered; empty ones where a sum hides them.
        examples: Images behind the metrics of each site; nothing where a sum hides them.
        bytes: That each site sent.
        shown: Whether any site's images are behind the metrics.
        curves: From which the bins of the next evaluation follow.
        tally: Images of each class and the others (K, 2); None where it is not known.
        tallies: The same of each site whose own states are known.
        kept: What figures are drawn from: the `edges` of the bins (None where there are none), the packed
            states of the `federation`, and those of the `sites` whose own are known.
        pooled: The metrics of all sites together, and of groups of their patients.
        known: The same of each site whose own states are known.
        entries: Of a test: what `run.json` says of what was chosen before it, and of groups.
    """

    federation: Scores
    sites: dict[str, Scores]
    examples: dict[str, int]
    seconds: dict[str, float]
    bytes: dict[str, int]
    shown: bool
    curves: Curves | None
    tally: NDArray[np.int64] | None
    tallies: dict[str, NDArray[np.int64] | None]
    kept: dict[str, Any] = field(default_factory=dict)
    pooled: GroupedMetrics | None = None
    known: Mapping[str, GroupedMetrics] = field(default_factory=dict)
    entries: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_nobody(cls) -> Self:
        """Return what is known of a split on which nobody was asked."""
        return cls({}, {}, {}, {}, {}, shown=False, curves=None, tally=None, tallies={})

    def rows(self, round_: int, phase: str) -> list[dict[str, Any]]:
        """Return the rows of the sites in the table of a run."""
        return [
            {
                "round": round_,
                "site": name,
                "phase": phase,
                "examples": self.examples.get(name, ""),
                "seconds": round(self.seconds[name], 3),
                "bytes": self.bytes[name],
                **scores,
            }
            for name, scores in self.sites.items()
        ]


class Judges:
    """Asks sites to evaluate models.

    Args:
        federation: Whom to ask.
        job: What is asked.
        task: Of the job.
        strategy: Some adapt to evaluations.
        wire: Of the model as it travels.
        run: Its name.
        listen: Told of everything that happens.

    Raises:
        JobError: Something is to be chosen of a model that is another one at each site.
    """

    def __init__(
        self,
        federation: Federation,
        job: JobSpec,
        task: Task,
        strategy: CentralHalf,
        wire: Wire,
        *,
        run: str,
        listen: Listener,
    ) -> None:
        self._federation = federation
        self._job = job
        self._task = task
        self._strategy = strategy
        self._layout = wire.layout
        self._run = run
        self._listen = listen
        require_one_model(job, wire)

    def test(self, tested: Best, members: list[Member]) -> Judged:
        """Judge a model on the test patients, and before that choose what the job lets be chosen of it."""
        voted = self._federation.judges(tested.round, "val")
        choice = chosen(self._job, tested, voted)
        found = self._job.task.classified()
        marks = () if choice is None or found is None else choice.marks(found[1])
        judged = self.judge(tested.vector, tested.round, "test", members, tested.curves, marks=marks)
        return replace(judged, entries=entries(self._job, choice, judged, members))

    def judge(
        self,
        vector: NDArray[np.float32],
        round_: int,
        split: str,
        members: list[Member],
        before: Curves | None,
        *,
        marks: Sequence[Sequence[float]] = (),
    ) -> Judged:
        """Add up the metric states of the sites: the result is what pooling their predictions would give.

        Args:
            vector: The model.
            round_: After which it is judged.
            split: 'val' or 'test'.
            members: Asked.
            before: From which the bins follow.
            marks: Logits for each class with curves that shall be edges of bins.
        """
        config = self._federation.config(round_, self._layout, self._run, split=split)
        grid = DrawnGrid(self._federation.grid, members)
        edges = edges_for(self._task, members, split, before, marks)
        record = messages.evaluation_record(vector, edges)
        asked = self._strategy.configure_evaluate(round_, record, config, grid)
        asked = self._federation.reached(asked, round_, split)
        if self._job.privacy.secure_aggregation:
            return self._judge_by_sum(asked, round_, split, edges)
        phase = "test" if split == "test" else "evaluate"

        def check(member: Member, content: RecordDict) -> tuple[messages.Evaluation, GroupedMetrics]:
            evaluation = messages.read_evaluation(content)
            metrics = GroupedMetrics.of(self._task, edges, split)
            check_evaluation(evaluation, member.description, split, metrics, self._job)
            return evaluation, metrics

        answers: dict[str, messages.Evaluation] = {}
        replies: list[Message] = []
        own: dict[str, GroupedMetrics] = {}
        for reply, (evaluation, metrics) in self._federation.exchange(asked, round_, phase, check):
            name = reply.member.name
            answers[name], own[name] = evaluation, metrics
            if evaluation.examples:
                counted = {messages.METRICS: MetricRecord({WEIGHT: evaluation.examples})}
                reduce_to(reply.message.content, counted)
                replies.append(reply.message)
            self._listen(Event("site_done", round_, name, phase, {"seconds": evaluation.seconds}))
        # Some strategies adapt to it.
        self._strategy.aggregate_evaluate(round_, self._federation.sorted(replies))
        names = sorted(answers)
        pooled = GroupedMetrics.of(self._task, edges, split)
        for name in names:
            pooled.merge(answers[name].states)
        known = {name: own[name] for name in names if answers[name].examples}
        return Judged(
            pooled.whole.compute(),
            {name: own[name].whole.compute() for name in names},
            {name: answers[name].examples for name in names},
            {name: answers[name].seconds for name in names},
            dict.fromkeys(names, pooled.pack().nbytes),
            any(answer.examples for answer in answers.values()),
            pooled.whole.curves(),
            pooled.whole.tally(),
            {name: own[name].whole.tally() for name in own},
            _kept(edges, pooled, known),
            pooled,
            known,
        )

    def _judge_by_sum(
        self, asked: list[Message], round_: int, split: str, edges: NDArray[np.float64] | None
    ) -> Judged:
        """Judge by metric states that add up behind masks; no site's own are known."""
        secure = SecureEvaluation(self._federation, self._job, self._listen)
        found = secure.metrics(asked, round_, split, self._task, edges)
        if found.message is not None:
            self._strategy.aggregate_evaluate(round_, [found.message])
        whole = found.metrics.whole
        return Judged(
            whole.compute(),
            {row["site"]: {} for row in found.rows},
            {},
            {row["site"]: row["seconds"] for row in found.rows},
            {row["site"]: row["bytes"] for row in found.rows},
            found.message is not None,
            whole.curves(),
            whole.tally(),
            {},
            _kept(edges, found.metrics, {}) if found.message is not None else {},
            found.metrics,
        )


def _kept(
    edges: NDArray[np.float64] | None, pooled: GroupedMetrics, sites: Mapping[str, GroupedMetrics]
) -> dict[str, Any]:
    return {
        "edges": None if edges is None else edges.tolist(),
        "federation": pooled.whole.pack().tolist(),
        "sites": {name: own.whole.pack().tolist() for name, own in sites.items()},
    }


def reduce_to(content: RecordDict, checked: Mapping[str, ArrayRecord | MetricRecord]) -> None:
    """Keep what was checked and nothing else: strategies stumble over records that differ between sites."""
    content.clear()
    content.update(checked)
