"""The sites of a run: who takes part, who is drawn for a round, and what they answer."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from server.rounds.answer_size import largest_answer
from server.rounds.deadline import Deadline, Quorum
from server.rounds.forwarding_grid import ForwardingGrid
from server.rounds.missing_sites import NO_ANSWER, comes_back
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads
from server.rounds.site_texts import told
from server.runs.events import Event, Listener
from server.runs.participation import Participation
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.metrics.statistics import Statistics, packed
from shared.seeds import seed_of
from shared.strategies import StrategyOptions
from shared.wire import messages
from shared.wire.messages import Description, MessageError
from shared.wire.sent import measure
from shared.wire.starts_message import STARTS

if TYPE_CHECKING:
    from shared.wire.packed_model import Layout  # with PyTorch, which a run that waits has not loaded

T = TypeVar("T")
_LEAST_GRACE = 10.0  # seconds after a quorum, where the job doesn't say how many


@dataclass(frozen=True)
class Member:
    """A site that takes part, under the name that its certificate has."""

    node_id: int
    name: str
    description: Description


@dataclass(frozen=True)
class Reply:
    """A valid answer of a site."""

    member: Member
    message: Message


class Federation:
    """The sites that take part in a run.

    Args:
        grid: Carries the messages, and knows which site each node is.
        job: Says who may take part.
        listen: Told of every answer and every failure.
        researcher: Who submitted the job; the sites' policies ask for the name. Empty names nobody.
        project: Of the run; the sites' policies ask for that name too.
        strict: Turn any failure of a site into an error, as a simulation does: its sites are all at hand.
        numbers: In the model.
        states: Numbers of the metric states.
        heads: Keeps the heads of the sites' audit logs; None in a simulation, whose sites have none.
        repeats: Who took part in the run that a simulation repeats; None lets everybody take part.
    """

    def __init__(
        self,
        grid: SiteGrid,
        job: JobSpec,
        listen: Listener,
        *,
        researcher: str = "",
        project: str = "",
        strict: bool,
        numbers: int,
        states: int,
        heads: SiteHeads | None = None,
        repeats: Participation | None = None,
    ) -> None:
        self.grid = grid
        self.researcher = researcher
        self.project = project
        self.members: list[Member] = []
        self.away: set[str] = set()  # sites that did not answer when last asked, and may later
        self.late: set[str] = set()  # members that were not there when the run began
        self.only_judging: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.figures_for: dict[str, str] = {}
        self.job = job
        self.strict = strict
        self.listen = listen
        self._numbers = numbers
        self._states = states
        self.statistics: Statistics = {}  # sums over all sites, that go with every model
        self.starts = ArrayRecord()  # files of weights that each site gets once
        self._heads = heads
        self._repeats = repeats
        self._updates: dict[tuple[int, str], str] = {}  # SHA-256 by round and site

    @property
    def summed_sites(self) -> list[Member]:
        """The members whose statistics are added up before the first round."""
        return self.trainers if self._repeats is None else self._named(self._repeats.of(0).summed)

    @property
    def trainers(self) -> list[Member]:
        """The members that train, by name; the others only judge."""
        return [member for member in self.members if member.name not in self.only_judging]

    def can_train(self, round_: int) -> list[Member]:
        """Return the members of whom those are drawn that train in a round."""
        return self.trainers if self._repeats is None else self._named(self._repeats.of(round_).can_train)

    def draw(self, round_: int) -> list[Member]:
        """Return the members that train in a round; it depends on seed, round and names alone."""
        if self._repeats is not None:
            return self._named(self._repeats.of(round_).drawn)
        strategy = self.job.strategy
        trainers, share, least = self.trainers, strategy.fraction, strategy.min_sites
        if strategy.in_turn:
            names = [member.name for member in trainers]
            return self._named(strategy.turn(names, round_, self.job.job.seed))
        number = max(round(share * len(trainers)), least)
        if number >= len(trainers):
            return trainers
        generator = np.random.default_rng(seed_of(self.job.job.seed, "draw", round_))
        chosen = generator.choice(len(trainers), number, replace=False)
        return [trainers[index] for index in sorted(chosen)]

    def sorted(self, replies: list[Message]) -> list[Message]:
        """Return replies in the order of their sites' names."""
        names = {member.node_id: member.name for member in self.members}
        return sorted(replies, key=lambda reply: names[reply.metadata.src_node_id])

    def config(
        self, round_: int, layout: "Layout", run: str, *, split: str = "", best: int = 0
    ) -> ConfigRecord:
        """Return the configuration that goes with a model to a site; see `messages.request_config`."""
        return messages.request_config(
            self.job.canonical(),
            layout.digest(),
            round_,
            split=split,
            researcher=self.researcher,
            project=self.project,
            run=run,
            best=best,
            statistics=packed(self.job.statistics(), self.statistics).tolist(),
        )

    def question(self, run: str) -> RecordDict:
        """Return the question what a site has for the job."""
        return messages.describe_request(self.job.canonical(), self.researcher, self.project, run)

    def judges(self, round_: int, split: str) -> list[Member]:
        """Return the members that judge the model after a round.

        The rounds of a run are compared by their validation, which is of the sites that were there when it
        began: all of them under secure aggregation, as sites refuse to sum metrics over a few more or fewer;
        otherwise those drawn, and those that only judge. All test the model, but for those whose part in the
        sum would show.
        """
        if self._repeats is not None:
            return self._named(self._repeats.judging(round_, split).judges)
        at_start = [member for member in self.members if member.name not in self.late]
        if self.job.privacy.secure_aggregation:
            return at_start
        if split == "test":
            return self.members
        if self.job.strategy.in_turn:  # who alone has trained would judge alone
            return at_start
        judging = {member.name for member in self.draw(round_)} | self.only_judging.keys()
        among = at_start if self.job.strategy.fraction == 1 else self.members
        return [member for member in among if member.name in judging]

    def reached(self, asked: Iterable[Message], round_: int, split: str) -> list[Message]:
        """Return the messages for sites that will answer: all, or those that did in the run that is repeated.

        They bring what sites keep of the files that the job starts from; who has it does not ask for it.

        Args:
            asked: What trains in the round, or judges the model after it.
            round_: The round.
            split: That is judged; empty for the training.
        """
        asked = list(asked)
        if self._repeats is not None:
            part = self._repeats.judging(round_, split) if split else self._repeats.of(round_)
            nodes = {member.node_id for member in self._named(part.judged if split else part.trained)}
            asked = [message for message in asked if message.metadata.dst_node_id in nodes]
        if self.starts:
            for message in asked:
                message.content[STARTS] = self.starts
        return asked

    def _named(self, names: Collection[str]) -> list[Member]:
        return [member for member in self.members if member.name in names]

    def exchange(
        self, asked: Iterable[Message], round_: int, phase: str, check: Callable[[Member, RecordDict], T]
    ) -> Iterator[tuple[Reply, T]]:
        """Send messages and yield each valid answer with what `check` made of it, as it arrives.

        Invalid answers, errors and silence are reported to the listener and left out. Once a quorum has
        answered, the others have a grace period; who is later is reported as late.

        Raises:
            RunError: A site failed and the federation is strict.
        """
        asked = list(asked)
        members = {member.node_id: member for member in self.members}
        nodes = [message.metadata.dst_node_id for message in asked]
        options = self.job.strategy
        largest = largest_answer(self.job, self._numbers, self._states, len(asked))
        wait = Wait(round_, phase, options.round_timeout, options.grace, _LEAST_GRACE, largest)
        sites = {node: members[node].name for node in nodes}

        def checked(node: int, content: RecordDict) -> T:
            answer = check(members[node], content)
            if phase == "train" and self._heads is not None:
                self._updates[round_, sites[node]] = measure(content).sha256 or ""
            return answer

        def failed(site: str, reason: str, _: int) -> None:
            self.fail(site, round_, phase, reason)

        for node, message, answer in self.answers(asked, sites, wait, checked, failed):
            yield Reply(members[node], message), answer
            del message, answer

    def receipts(
        self, round_: int, model: NDArray[np.float32], trained: Collection[str] = ()
    ) -> dict[str, Any]:
        """Return the SHA-256 of a round's `model`, and of its `updates` by site; nothing in a simulation.

        Args:
            round_: The round; 0 for the first model.
            model: After it, packed.
            trained: The sites whose updates are in it.
        """
        if self._heads is None:
            return {}
        updates = {name: self._updates[round_, name] for name in trained}
        self._updates.clear()
        return {"model": hashlib.sha256(np.ascontiguousarray(model).data).hexdigest(), "updates": updates}

    def answers(
        self,
        asked: list[Message],
        sites: Mapping[int, str],
        wait: "Wait",
        check: Callable[[int, RecordDict], T],
        failed: Callable[[str, str, int], None],
    ) -> Iterator[tuple[int, Message, T]]:
        """Send messages and yield each valid answer with its node and what `check` made of it.

        Args:
            asked: One for each node.
            sites: Name of each node's site.
            wait: How long and for what.
            check: Parses the content of a node's answer, or raises MessageError.
            failed: Told of every other site: name, reason, and the code of its error reply; 0 is none.
        """
        if self._heads is not None:
            for message in asked:
                message.content = self._heads.ask(sites[message.metadata.dst_node_id], message.content)
        waiting, deadline = dict(sites), Deadline(wait.timeout)
        quorum = None if self.strict else wait.quorum(self.job.strategy, len(asked), deadline)
        for message in self.grid.answers(asked, deadline, wait.largest):
            node = message.metadata.src_node_id
            if node not in waiting:
                continue  # an answer twice, or from somebody who was not asked
            site, reason = waiting.pop(node), None
            try:
                answer = check(node, self._proven(site, message))
            except (MessageError, ValueError) as error:
                reason = str(error)
            if quorum is not None:
                # Who says no has said what it has for the job: others are waited for no longer.
                quorum.heard(valid=reason is None or wait.phase == "describe")
            if reason is not None:
                code = message.error.code if message.has_error() else 0
                self._note_away(site, code)
                failed(site, reason, code)
                continue
            self.away.discard(site)
            yield node, message, answer
            del message, answer  # a large one is let go before the next is fetched
        for site in sorted(waiting.values()):
            if deadline.was_shortened and deadline.is_over:
                self.listen(Event("site_late", wait.round, site, wait.phase))
            else:
                self._note_away(site, NO_ANSWER)
                failed(site, f"no answer within {wait.timeout:g} s", NO_ANSWER)

    def _note_away(self, site: str, code: int) -> None:
        (self.away.add if comes_back(code) else self.away.discard)(site)

    def _proven(self, site: str, message: Message) -> RecordDict:
        """Return the content of an answer, once the site has shown that its audit log has grown.

        Raises:
            MessageError: It has not, or the answer is an error.
        """
        if self._heads is not None:
            if message.has_error() and message.error.code == messages.LOG_CUT:
                self._heads.denied(site)
            elif not message.has_error():
                self._heads.take(site, message.content)
        return _content(message)

    def fail(self, site: str, round_: int, phase: str, reason: str) -> None:
        """Report that a site failed; what it says of the reason is cut short and can't control a terminal.

        Raises:
            RunError: The federation is strict.
        """
        reason = told(reason)
        if self.strict:
            raise RunError(reason if reason.startswith(site) else f"{site}: {reason}")
        self.listen(Event("site_failed", round_, site, phase, {"reason": reason}))


def trains(job: JobSpec, patients: Mapping[str, int]) -> bool:
    """Say whether a site with so many patients, by split, trains, describes, or judges what nobody trains."""
    return patients[work_of(job)] >= job.strategy.min_patients


def too_few(job: JobSpec, patients: Mapping[str, int]) -> str:
    """Return how many patients a site has for its work, in words, and how many are asked for."""
    kind, count = "test" if job.judges else "training", patients[work_of(job)]
    number = f"about {count}" if count else "no"
    return f"{number} {kind} patients, the job asks for {job.strategy.min_patients}"


def work_of(job: JobSpec) -> str:
    """Return the split on which a job's sites work: they train or describe, or judge what nobody trains."""
    return "test" if job.judges else "train"


@dataclass(frozen=True)
class Wait:
    """What is asked, how long the answers are waited for in seconds, and how large they may be in bytes."""

    round: int
    phase: str
    timeout: float
    grace: float | None
    least_grace: float
    largest: int

    def quorum(self, options: StrategyOptions, asked: int, deadline: Deadline) -> Quorum:
        """Return what shortens the wait."""
        return Quorum(options, asked, deadline, self.grace, self.least_grace)


def _content(message: Message) -> RecordDict:
    if message.has_error():
        raise MessageError(message.error.reason or "an error without a reason")
    return message.content


class DrawnGrid(ForwardingGrid):
    """A Flower Grid on which a strategy sees the sites drawn for one round, and no others.

    Flower's strategies draw nodes themselves, from the global random state and by node id; here the draw
    depends on the job's seed, the round and the names of the sites alone. Strategies ask a Grid who is there
    and build messages; sending them is the round loop's.
    """

    def __init__(self, grid: Grid, members: Sequence[Member]) -> None:
        super().__init__(grid)
        self._nodes = [member.node_id for member in members]

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes drawn."""
        return self._nodes
