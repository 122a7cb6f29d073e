"""The sites of a run: who takes part, who is drawn for a round, and what they answer."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from server.rounds.answer_checks import check_description
from server.rounds.answer_size import largest_answer
from server.rounds.deadline import Deadline, Quorum
from server.rounds.forwarding_grid import ForwardingGrid
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads
from server.rounds.site_texts import told
from server.runs.events import Event, Kind, Listener
from shared.errors import RunError
from shared.flower import query_message
from shared.job.schema import JobSpec
from shared.metrics.statistics import Statistics, packed
from shared.seeds import seed_of
from shared.strategies import StrategyOptions
from shared.wire import messages
from shared.wire.messages import Description, MessageError
from shared.wire.packed_model import Layout

T = TypeVar("T")
_DESCRIBE_TIMEOUT = 600.0  # seconds; a site may have to read its masks to count voxels
_DESCRIBE_GRACE = 60.0  # who is too late to say what it has is out for the whole run
_LARGEST_DESCRIPTION = 2**18  # bytes
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
    ) -> None:
        self.grid = grid
        self.researcher = researcher
        self.project = project
        self.members: list[Member] = []
        self.only_judging: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.figures_for: dict[str, str] = {}
        self._job = job
        self._listen = listen
        self._strict = strict
        self._numbers = numbers
        self._states = states
        self.statistics: Statistics = {}  # sums over all sites, that go with every model
        self._heads = heads

    def gather(self) -> None:
        """Ask every connected site what it has for the job, and choose who takes part.

        Raises:
            RunError: Fewer sites than the job's `min_sites` can take part.
        """
        names = self.grid.site_names()
        found: dict[str, list[Member]] = {}
        for member in self._describe(names):
            found.setdefault(member.name, []).append(member)
            self.figures_for[member.name] = member.description.figures_for
        self.members = []
        self.only_judging.clear()
        self.left_out.clear()
        for name, (member, *others) in sorted(found.items()):
            if others:  # nobody here can tell which of them has the site's data
                self.fail(name, 0, "describe", f"{1 + len(others)} nodes of this site are connected")
            elif self._admits(member):
                self.members.append(member)
        if len(self.trainers) < self._job.strategy.min_sites:
            reasons = sorted({**self.left_out, **self.only_judging}.items())
            raise RunError(
                f"{len(self.trainers)} sites can train, the job needs {self._job.strategy.min_sites}"
                + "".join(f"; {name}: {reason}" for name, reason in reasons),
                where="[strategy] min_sites",
            )

    def _describe(self, names: Mapping[int, str]) -> Iterator[Member]:
        """Yield the sites that say, under their own name, what they have."""
        question = messages.describe_request(self._job.canonical(), self.researcher, self.project)
        nodes = list(self.grid.get_node_ids())
        for node in sorted(set(nodes) - names.keys()):
            self.fail(f"node {node}", 0, "describe", "belongs to no site that has joined")
        sites = {node: names[node] for node in nodes if node in names}
        asked = [query_message(messages.DESCRIBE, question, node) for node in sites]
        wait = _Wait(0, "describe", _DESCRIBE_TIMEOUT, None, _DESCRIBE_GRACE, _LARGEST_DESCRIPTION)

        def check(node: int, content: RecordDict) -> Description:
            description = messages.read_description(content)
            self._check(sites[node], description)
            return description

        for node, _, description in self._answers(asked, sites, wait, check):
            yield Member(node, sites[node], description)

    def _check(self, name: str, description: Description) -> None:
        if description.site != name:
            raise MessageError(f"says that it is the site '{description.site}'")
        check_description(description)

    def _admits(self, member: Member) -> bool:
        """Say whether a site takes part: it trains, or it judges what others have trained."""
        patients = member.description.patients
        if trains(self._job, patients):
            self._listen(Event("site_joined", site=member.name, data={"patients": patients["train"]}))
            return True
        number = f"about {patients['train']}" if patients["train"] else "no"
        reason = f"{number} training patients, the job asks for {self._job.strategy.min_patients}"
        judges = bool(patients["val"] or patients["test"])
        (self.only_judging if judges else self.left_out)[member.name] = reason
        kind: Kind = "site_only_judges" if judges else "site_left_out"
        self._listen(Event(kind, site=member.name, data={"reason": reason}))
        return judges

    @property
    def trainers(self) -> list[Member]:
        """The members that train, by name; the others only judge."""
        return [member for member in self.members if member.name not in self.only_judging]

    def draw(self, round_: int) -> list[Member]:
        """Return the members that train in a round; it depends on seed, round and names alone."""
        trainers, share, least = self.trainers, self._job.strategy.fraction, self._job.strategy.min_sites
        number = max(round(share * len(trainers)), least)
        if number >= len(trainers):
            return trainers
        generator = np.random.default_rng(seed_of(self._job.job.seed, "draw", round_))
        chosen = generator.choice(len(trainers), number, replace=False)
        return [trainers[index] for index in sorted(chosen)]

    def sorted(self, replies: list[Message]) -> list[Message]:
        """Return replies in the order of their sites' names."""
        names = {member.node_id: member.name for member in self.members}
        return sorted(replies, key=lambda reply: names[reply.metadata.src_node_id])

    def config(
        self, round_: int, layout: Layout, run: str, *, split: str = "", best: int = 0
    ) -> ConfigRecord:
        """Return the configuration that goes with a model to a site; see `messages.request_config`."""
        return messages.request_config(
            self._job.canonical(),
            layout.digest(),
            round_,
            split=split,
            researcher=self.researcher,
            project=self.project,
            run=run,
            best=best,
            statistics=packed(self._job.task.statistics(), self.statistics).tolist(),
        )

    def judges(self, round_: int) -> list[Member]:
        """Return the members that judge the model after a round: those drawn, and those that only judge."""
        drawn = {member.name for member in self.draw(round_)}
        return [member for member in self.members if member.name in drawn | self.only_judging.keys()]

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
        options = self._job.strategy
        largest = largest_answer(self._job, self._numbers, self._states, len(asked))
        wait = _Wait(round_, phase, options.round_timeout, options.grace, _LEAST_GRACE, largest)
        sites = {node: members[node].name for node in nodes}

        def checked(node: int, content: RecordDict) -> T:
            return check(members[node], content)

        for node, message, answer in self._answers(asked, sites, wait, checked):
            yield Reply(members[node], message), answer

    def _answers(
        self,
        asked: list[Message],
        sites: Mapping[int, str],
        wait: "_Wait",
        check: Callable[[int, RecordDict], T],
    ) -> Iterator[tuple[int, Message, T]]:
        if self._heads is not None:
            for message in asked:
                message.content = self._heads.ask(sites[message.metadata.dst_node_id], message.content)
        waiting, deadline = dict(sites), Deadline(wait.timeout)
        quorum = None if self._strict else wait.quorum(self._job.strategy, len(asked), deadline)
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
                quorum.heard(valid=reason is None)
            if reason is not None:
                self.fail(site, wait.round, wait.phase, reason)
                continue
            yield node, message, answer
        for site in sorted(waiting.values()):
            if deadline.was_shortened and deadline.is_over:
                self._listen(Event("site_late", wait.round, site, wait.phase))
            else:
                self.fail(site, wait.round, wait.phase, f"no answer within {wait.timeout:g} s")

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
        if self._strict:
            raise RunError(reason if reason.startswith(site) else f"{site}: {reason}")
        self._listen(Event("site_failed", round_, site, phase, {"reason": reason}))


def trains(job: JobSpec, patients: Mapping[str, int]) -> bool:
    """Say whether a site with so many patients, by split, trains."""
    return patients["train"] >= job.strategy.min_patients


@dataclass(frozen=True)
class _Wait:
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
