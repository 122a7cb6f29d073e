"""The round loop: train, aggregate, evaluate, save; again, until the job is done.

It drives the four methods of a Flower strategy, and adds what `Strategy.start` lacks: checkpoints after every
round, resuming with the same result, early stopping, a deadline, and a record of what happened.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from server.rounds.answer_checks import check_update
from server.rounds.background import Background
from server.rounds.beside_checks import BesideChecks
from server.rounds.conclusion import Conclusion
from server.rounds.federation import DrawnGrid, Federation, Member
from server.rounds.first_sums import sum_up
from server.rounds.guarantee import guarantee
from server.rounds.joining import Joining
from server.rounds.judging import Judged, Judges, reduce_to
from server.rounds.last_test import note_test
from server.rounds.missing_sites import MissingSitesError
from server.rounds.population import Population
from server.rounds.secure_round import SecureRound
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads
from server.rounds.site_level import SiteLevel
from server.rounds.site_weights import RoundWeights, Weights
from server.runs.checkpoint import Best, Checkpoint, Unjudged
from server.runs.events import Event, Listener, defined
from server.runs.folder import RunFolder
from server.runs.log import record_and_tell
from server.runs.lone_sites import lone_sites
from server.runs.participation import Participation
from server.runs.places import Places
from shared.job.model_size import check_model_size
from shared.job.schema import JobSpec
from shared.job_parts import counts_are_sent, is_sent_whole
from shared.metrics.grouped import TEST, GroupedMetrics
from shared.metrics.spec import is_better, metric_names
from shared.metrics.statistics import packed
from shared.networks.build import build_model
from shared.privacy.filters import UpdateFilter
from shared.privacy.secagg.wide import WORDS
from shared.start_files import kept_files, starts_of
from shared.strategies.flower_halves import WEIGHT
from shared.strategies.wire import Wire
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.starts_message import STARTS, starts_record


@dataclass(frozen=True)
class Result:
    """What a finished run brought."""

    round: int  # the round whose model was tested, or would be
    vector: NDArray[np.float32]
    test: Judged  # of nobody, where the job leaves the test closed


class RoundLoop:
    """Runs a job on the sites of a Grid, from its last checkpoint on.

    Attributes:
        task: Of the job; its statistics are known once a run has begun.

    Args:
        grid: Carries the messages; `send_and_receive` may yield answers as they arrive.
        job: What is asked.
        run: Where everything is written.
        listen: Told of everything that happens.
        strict: Stop at the first failure of a site.
        heads: Keeps the heads of the sites' audit logs; None in a simulation.
        repeats: Who took part in the run that a simulation repeats; None lets everybody take part.
        rehearsal: The sites are simulated: noise comes from the job's seed, and the report says that nothing
            is guaranteed.
        places: Of the coordinator's runs; None in a simulation.
    """

    def __init__(
        self,
        grid: SiteGrid,
        job: JobSpec,
        run: RunFolder,
        listen: Listener,
        *,
        heads: SiteHeads | None = None,
        strict: bool = False,
        repeats: Participation | None = None,
        rehearsal: bool = False,
        places: Places | None = None,
    ) -> None:
        self.job = job
        self._run = run
        self._rehearsal = rehearsal
        self._listen = record_and_tell(run, listen)
        about = run.read_description()
        self.task = make_task(job)
        check_model_size(job)
        self.wire = Wire.of(build_model(job, started=False), job.strategy)
        self.layout = self.wire.layout
        sizes = WORDS * sum(spec.size for spec in job.statistics())
        self._federation = Federation(
            grid,
            job,
            self._listen,
            researcher=str(about.get("researcher", "")),
            project=str(about.get("project", "")),
            strict=strict,
            numbers=self.layout.size,
            states=max(GroupedMetrics.of(self.task, None, TEST).pack().size, sizes),
            heads=heads,
            repeats=repeats,
        )
        is_private = job.privacy.mechanism == "site-level"
        self._joining = Joining(self._federation, run, places)
        self._privacy = SiteLevel(job, rehearsal=rehearsal) if is_private else None
        self._filter = UpdateFilter(job.update, partial(counts_are_sent, job), self.layout)
        self._strategy = job.strategy.centre(self.layout, self._privacy)
        self._conclude = Conclusion(job, self.wire)
        self._beside = BesideChecks(job, self.wire)
        self._judges = Judges(
            self._federation,
            job,
            self.task,
            self._strategy,
            self.wire,
            run=run.path.name,
            listen=self._listen,
        )
        self._weights = Weights(job.strategy, self._listen)
        self._population = Population()

    def execute(self, *, resume: bool = False) -> Result:
        """Run all rounds that are left, then test the best model (or the last, without a criterion).

        Raises:
            RunError: Too few sites answer, or the folder can't be written; the last checkpoint is whole.
        """
        state = self._run.load() if resume and self._run.has_begun() else None
        self._joining.gather(1 if state is None else state.round + 1)
        self._federation.starts = starts_record(kept_files(self.job, self._run.path))
        state = state or self._first()  # a run has begun once its sites are there
        self._restore(state)
        self._population.restore(self._run, state)
        self._joining.describe()
        if state.statistics:
            self._run.describe(statistics=self._told_statistics())
        data = {"rounds": self.job.job.rounds, "sites": len(self._federation.trainers)}
        self._listen(Event("run_started", state.round, data=data))
        with Background() as disk:  # a round is being written while the sites train for the next
            if state.unjudged is not None:
                state = self._judge(state, state.unjudged, disk)
            begun = state.round  # who was there a moment ago is not asked again
            while state.round < self.job.job.rounds and not self._has_converged(state):
                late = not self._federation.strict and state.round > begun
                if late and self._joining.take_in_late(state.round + 1):
                    self._joining.describe()
                state = self._round(state, disk)
        result = self._finish(state)
        self._listen(Event("run_finished", state.round, data=defined(result.test.federation)))
        return result

    @property
    def federation(self) -> Federation:
        """The sites that take part."""
        return self._federation

    @property
    def statistics(self) -> list[float]:
        """The sums over all sites before the first round, packed."""
        return packed(self.job.statistics(), self.task.statistics).tolist()

    def _told_statistics(self) -> dict[str, Any]:
        return {name: numbers.tolist() for name, numbers in self.task.statistics.items()}

    def _first(self) -> Checkpoint:
        first = self.wire.first(self.first_model())
        sums = sum_up(self._federation, self.job)
        state = Checkpoint(0, first, statistics=sums.total)
        names = _names(self._federation.can_train(1))
        receipts = self._federation.receipts(0, first)
        self._run.note_part(round=0, job=self.job.digest(), can_train=names, summed=sums.sites, **receipts)
        return self._run.save(state)

    def first_model(self) -> NDArray[np.float32]:
        """Return the model that the run begins with, packed; made anew, as it may be large."""
        return self.wire.model.pack(build_model(self.job, files=starts_of(self.job, self._run.path)))

    def _restore(self, state: Checkpoint) -> None:
        """Take up what was added up before the first round, and what strategy and noise remember since."""
        self.task.statistics = self._federation.statistics = state.statistics
        remembered = dict(state.strategy)
        if self._privacy is not None:
            self._privacy.restore(remembered)
        self._conclude.restore(remembered)
        self._strategy.restore(remembered)

    def _has_converged(self, state: Checkpoint) -> bool:
        patience = self.job.evaluation.patience
        return patience is not None and state.stale >= patience

    def _round(self, state: Checkpoint, disk: Background) -> Checkpoint:
        round_ = state.round + 1
        start = time.monotonic()
        self._listen(Event("round_started", round_))
        best = 0 if state.best is None else state.best.round
        trainers, drawn = self._federation.can_train(round_), self._federation.draw(round_)
        self._population.begin(_names(trainers))
        vector, row, site_rows = self._train(state.vector, round_, best, drawn)
        trained = sorted({str(one["site"]) for one in site_rows})
        part = {"can_train": _names(trainers), "drawn": _names(drawn), "trained": trained}
        part |= self._federation.receipts(round_, vector, trained)
        remembered = self._strategy.state() | self._conclude.state()
        remembered |= self._privacy.state() if self._privacy else {}
        unjudged = Unjudged(row | {"round": round_, "seconds": time.monotonic() - start}, site_rows, part)
        state = replace(state, round=round_, vector=vector, strategy=remembered, unjudged=unjudged)
        if not self._rehearsal:  # sites believe one model per round: once it is sent, no other may be made
            disk.wait()
            state = self._run.save(state)
        del vector  # a large one is on the disk now
        return self._judge(state, unjudged, disk)

    def _judge(self, state: Checkpoint, unjudged: Unjudged, disk: Background) -> Checkpoint:
        start, row, site_rows = time.monotonic(), dict(unjudged.row), list(unjudged.sites)
        part = {"round": state.round, **unjudged.part}
        state = replace(state, unjudged=None)
        if self.job.evaluates(state.round):
            members = self._federation.judges(state.round, "val")
            judged = self._judges.judge(state.vector, state.round, "val", members, state.curves)
            state = replace(self._compare(state, judged), curves=judged.curves)
            row |= judged.federation
            part |= {"judges": _names(members), "judged": sorted(judged.sites)}
            site_rows += judged.rows(state.round, "val")
        row["seconds"] = round(row["seconds"] + time.monotonic() - start, 3)
        disk.do(self._save, state, row, site_rows, part)
        return state

    def _save(
        self, state: Checkpoint, row: dict[str, Any], site_rows: list[dict[str, Any]], part: dict[str, Any]
    ) -> None:
        """Write a round, then say that it is finished: what was said to be finished is on the disk."""
        self._run.add_rows("metrics.csv", [row])
        self._run.add_rows("sites.csv", site_rows)
        self._run.note_part(**part)
        self._run.keep_model(self.layout, state.vector, state.round)
        self._run.save(state)  # last: a round counts once its checkpoint is written
        if state.best is not None and state.best.round == state.round:
            self._run.save_model("best", self.layout, state.best.vector, state.round)
        means = [name for name in metric_names(self.job) if "/" not in name]  # single classes: in the tables
        scores = {name: row[name] for name in ("train_loss", *means) if name in row}
        self._listen(Event("round_finished", state.round, data=defined(scores) | lone_sites(site_rows)))

    def _train(
        self, vector: NDArray[np.float32], round_: int, best: int, members: list[Member]
    ) -> tuple[NDArray[np.float32], dict[str, Any], list[dict[str, Any]]]:
        """Return the next global model, the row of the round and the rows of its sites."""
        config = self._federation.config(round_, self.layout, self._run.path.name, best=best)
        grid = DrawnGrid(self._federation.grid, members)
        asked = self._strategy.configure_train(round_, messages.vector_record(vector), config, grid)
        asked = self._federation.reached(asked, round_, "")
        if self._privacy is not None:
            self._privacy.begin(vector)
        rows: list[dict[str, Any]] = []
        if self.job.privacy.secure_aggregation:
            secure = SecureRound(
                self._federation,
                self.job,
                round_,
                update_filter=self._filter,
                base=vector,
                run=self._run,
                listen=self._listen,
            )
            replies = secure.updates(asked, rows)
        else:
            secure = None
            replies = self._updates(asked, self._weights.of_round(round_, members), vector, rows)
        if not self._strategy.streaming:  # other strategies add in the order given: let it be by name
            replies = iter(self._federation.sorted(list(replies)))
        arrays, metrics = self._strategy.aggregate_train(round_, replies)
        if len(rows) < self.job.strategy.min_sites or arrays is None:
            raise MissingSitesError(
                f"round {round_}: {len(rows)} sites returned an update, the job needs "
                f"{self.job.strategy.min_sites}",
                where=self._run.path,
                remedy="Once the sites are back, go on with --resume.",
            )
        rows.sort(key=lambda row: str(row["site"]))
        loss = float(metrics["loss"]) if metrics is not None else math.nan
        trained = messages.read_vector(arrays, self.layout.size)
        sent = vector.nbytes * len(members) + (0 if secure is None else secure.asked)
        sent += sum(row["bytes"] for row in rows)
        sent += self._population.new * messages.array_bytes(RecordDict({STARTS: self._federation.starts}))
        summary = {"sites": len(rows), "train_loss": loss, "bytes": sent}
        # A mean of equal numbers may differ from them in the last bit: what is frozen is put back.
        mean = self._filter.expand(self._filter.select(trained), vector)
        self._beside.check_mean(mean, max(member.description.examples["train"] for member in members))
        shares = self._population.share(len(rows)), self._population.share_before
        concluded = self._conclude(mean, vector, *shares, round_=round_)
        return concluded, summary, rows

    def _updates(
        self,
        asked: Iterable[Message],
        weights: RoundWeights,
        base: NDArray[np.float32],
        rows: list[dict[str, Any]],
    ) -> Iterator[Message]:
        """Yield each valid update, weighed as the job says; note what its site did."""
        round_ = weights.round
        decode = None if is_sent_whole(self.job) else partial(self._filter.decode, base=base)

        def check(member: Member, content: RecordDict) -> messages.Update:
            update = messages.read_update(content, self.layout.size, decode)
            check_update(update, member.description, weights.of(member, update))
            self._beside.check_update(update.vector, member.description.examples["train"])
            return update

        for reply, update in self._federation.exchange(asked, round_, "train", check):
            sent = messages.array_bytes(reply.message.content)
            arrays = reply.message.content[messages.ARRAYS]
            if decode is not None:
                arrays = messages.vector_record(update.vector)
            metrics = MetricRecord({WEIGHT: weights.of(reply.member, update), "loss": update.loss})
            reduce_to(reply.message.content, {messages.ARRAYS: arrays, messages.METRICS: metrics})
            rows.append(
                {
                    "round": round_,
                    "site": reply.member.name,
                    "phase": "train",
                    "examples": update.examples,
                    "train_loss": update.loss,
                    "seconds": round(update.seconds, 3),
                    "bytes": sent,
                }
            )
            data = {"loss": update.loss, "seconds": update.seconds}
            self._listen(Event("site_done", round_, reply.member.name, "train", data))
            yield reply.message
            del reply, update, arrays  # a large one is let go before the next is fetched

    def _compare(self, state: Checkpoint, judged: Judged) -> Checkpoint:
        """Keep the model where it is the best so far; without a criterion there is no best."""
        name = self.job.evaluation.select_best
        if name is None:
            return state
        if not judged.shown:  # no site lets its scores leave: nothing speaks against the model
            return state
        value = judged.federation[name]
        if math.isnan(value):  # sites withhold it, or no patient has what it judges: the same holds
            reason = f"'{name}', by which the best round is chosen, is not defined by what the sites share"
            self._listen(Event("not_evaluated", state.round, phase="val", data={"reason": reason}))
            return state
        if is_better(self.job, name, value, None if state.best is None else state.best.value):
            return replace(state, best=Best(state.round, value, state.vector, judged.curves), stale=0)
        return replace(state, stale=state.stale + 1)

    def _finish(self, state: Checkpoint) -> Result:
        self._run.save_model("model", self.layout, state.vector, state.round)
        tested = state.best or Best(state.round, math.nan, state.vector, state.curves)
        if state.best is not None:
            self._run.save_model("best", self.layout, state.best.vector, state.best.round)
        judged = Judged.of_nobody()
        if self.job.evaluation.test:
            members = self._federation.judges(tested.round, "test")
            judged = self._judges.test(tested, members)
            note_test(self._run, judged, members, state.round)
        told = guarantee(
            self.job,
            self._run.read_description()["sites"],
            [name for name in judged.sites if judged.shown and judged.examples.get(name, 1)],
            trainings=self._run.count_events("round_started"),
            rehearsal=self._rehearsal,
        )
        self._run.describe(
            rounds=state.round,
            tested_round=tested.round,
            **({"guarantee": told} if told else {}),
            **judged.entries,
            bytes_sent=self._run.bytes_sent(),
            late=self._run.rounds_missed(),
        )
        return Result(tested.round, tested.vector, judged)


def _names(members: Iterable[Member]) -> list[str]:
    return [member.name for member in members]
