"""One masked sum: the stages that take the place of a plain exchange, for training and for evaluations.

The coordinator adds up masked numbers, and gets their sum and nothing else. A site that fails a stage counts
as dropped out; too few left end the sum with the reason.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from flwr.app import Message, RecordDict
from numpy.typing import NDArray

from server.rounds.federation import Federation, Member
from server.runs.events import Event, Listener
from shared.flower import query_message
from shared.job.schema import JobSpec
from shared.passport.sums import Signed
from shared.privacy.secagg import messages as stages
from shared.privacy.secagg.claims import check_bins, check_claims, check_evaluated
from shared.privacy.secagg.context import context_of
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.records import (
    STATISTICS,
    TRAIN,
    VALIDATION,
    Envelopes,
    Header,
    KeyMessage,
    Reveal,
    side_of,
)
from shared.privacy.secagg.server import SecAggServer
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.messages import MessageError

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is summed.

    Attributes:
        job: What the sites work for.
        round: Number of the round; 0 for statistics.
        phase: One of `shared.privacy.secagg.records.PHASES`.
        size: Length of the vector that is summed; of statistics, in words.
        extras: Numbers behind it.
        hashed: Whether each site sends a hash of what it adds.
    """

    job: JobSpec
    round: int
    phase: str
    size: int
    extras: int
    hashed: bool = False

    @property
    def event(self) -> str:
        """Name of the sites' work in events and tables."""
        return "evaluate" if self.phase == VALIDATION else self.phase

    @property
    def split(self) -> str:
        """The split that is evaluated; otherwise empty."""
        return "" if self.phase in (TRAIN, STATISTICS) else self.phase


class SecureSum:
    """The stages of one sum.

    Args:
        federation: Carries the messages.
        plan: What is summed.
        asked: What asks each site for its work, the same of all.
        listen: Told of every site that is done.

    Attributes:
        server: The state machine; when the stages are over it has the sum.
        asked_bytes: Bytes that went out to all sites, besides the model.
        last: The last answer: what is made of the sum goes on in its place.
        signed: By site, what it signs of its part, where the plan is hashed.
    """

    def __init__(self, federation: Federation, plan: Plan, asked: list[Message], listen: Listener) -> None:
        self._federation = federation
        self._plan = plan
        self._asked = asked
        self._listen = listen
        read = messages.read_question if plan.phase == STATISTICS else messages.read_request
        context = context_of(plan.phase, read(asked[0].content))
        job = bytes.fromhex(plan.job.digest())
        header = Header(job, plan.round, secrets.token_bytes(32), plan.phase, context)
        self.server = SecAggServer(header, plan.size, plan.job.strategy.min_sites, extras=plan.extras)
        self.asked_bytes = 0
        self.last: Message | None = None
        self.signed: dict[str, Signed] = {}
        nodes = {message.metadata.dst_node_id for message in asked}
        self._described = {
            member.name: member.description for member in federation.members if member.node_id in nodes
        }
        self._needed = self._never_missing()
        self._sent: Counter[str] = Counter()  # bytes by site, of all stages

    def gather(self) -> list[dict[str, Any]]:
        """Carry all stages through.

        Returns:
            For each site in the sum its round, name, phase, seconds and bytes.

        Raises:
            SecureAggregationError: Too few sites are left, or what they sent does not fit together.
        """
        server = self.server
        members = {member.node_id: member for member in self._federation.members}
        present = [members[message.metadata.dst_node_id] for message in self._asked]
        header = server.header.to_bytes()
        present = self._stage(stages.KEYS, present, lambda _: header, KeyMessage.from_bytes, self._take_keys)
        roster = server.roster()
        if self._plan.phase != TRAIN:
            check_evaluated([message.claims for message in roster.keys])
            self._check_present({message.site for message in roster.keys})
        body = roster.to_bytes()
        present = self._stage(
            stages.SHARES, present, lambda _: body, Envelopes.from_bytes, server.take_shares
        )
        inboxes = server.inboxes()
        present = self._stage(
            stages.INBOX, present, lambda site: inboxes[site].to_bytes(), _opened, lambda *_: None
        )
        rows: list[dict[str, Any]] = []
        present = list(self._work({member.node_id for member in present}, rows))
        if self._plan.phase != TRAIN:
            self._check_left({member.name for member in present})
        outcome = server.outcome().to_bytes()
        present = self._stage(stages.AGREE, present, lambda _: outcome, bytes, server.take_signature)
        agreement = server.agreement().to_bytes()
        self._stage(stages.REVEAL, present, lambda _: agreement, Reveal.from_bytes, server.take_reveal)
        for row in rows:
            row["bytes"] = self._sent[row["site"]]
        return sorted(rows, key=lambda row: str(row["site"]))

    def asked_of_those_left(self) -> list[Message]:
        """Return what asks the sites once more that have answered this sum."""
        names = {member.node_id: member.name for member in self._federation.members}
        return [
            Message(message.content, message.metadata.dst_node_id, message.metadata.message_type)
            for message in self._asked
            if names[message.metadata.dst_node_id] in self.server.claims
        ]

    def _check_present(self, sites: set[str]) -> None:
        """Check that no site is missing that has to be in the sum.

        Raises:
            SecureAggregationError: One is.
        """
        if missing := ", ".join(sorted(self._needed - sites)):
            what = "validation is" if self._plan.phase == VALIDATION else "statistics are"
            raise SecureAggregationError(f"{missing} dropped out, and {what} of all sites or of none")

    def _never_missing(self) -> set[str]:
        """Return the sites without whom there is no sum.

        The sites remember over whom metrics and statistics are summed, and refuse a sum over some more or
        fewer: one round without a site would end all validations with it. A test is the run's last sum, and
        better than none.
        """
        if self._plan.phase == VALIDATION:
            return {name for name, told in self._described.items() if told.patients.get(VALIDATION)}
        names = {member.node_id: member.name for member in self._federation.members}
        asked = {names[message.metadata.dst_node_id] for message in self._asked}
        return asked if self._plan.phase == STATISTICS else set()

    def _check_left(self, sites: set[str]) -> None:
        """Check that the sites left in an evaluation may be summed, before any of them has to refuse it.

        Raises:
            SecureAggregationError: They may not.
        """
        self._check_present(sites)
        claims = self.server.roster_claims
        left = [claim for site, claim in claims.items() if site in sites]
        if self._plan.split:
            check_bins(make_task(self._plan.job).most_bins, claims.values(), left)

    def _take_keys(self, site: str, message: KeyMessage) -> None:
        plan = self._plan
        check_claims(site, message.claims, plan.job, training=plan.phase == TRAIN)
        if plan.job.privacy.mechanism != "dp-sgd":  # else no number was described
            described = self._described[site]
            weighs = plan.phase != TRAIN or plan.job.strategy.weight == "examples"
            if message.claims.patients > described.patients[side_of(plan.phase)] or (
                weighs and message.claims.weight > described.examples[side_of(plan.phase)]
            ):
                raise SecureAggregationError("claims more than it described when the run began")
        self.server.take_keys(site, message)

    def _stage(
        self,
        name: str,
        members: Iterable[Member],
        body: Callable[[str], bytes],
        parse: Callable[[bytes], T],
        take: Callable[[str, T], None],
    ) -> list[Member]:
        """Ask for a stage; return those who answered as they should."""
        plan, asked = self._plan, []
        for member in members:
            content = stages.stage_request(
                plan.job.canonical(),
                plan.round,
                body(member.name),
                plan.split,
                researcher=self._federation.researcher,
                project=self._federation.project,
            )
            self.asked_bytes += messages.array_bytes(content)
            asked.append(query_message(name, content, member.node_id))

        def check(content: RecordDict) -> T:
            return parse(stages.read_stage(content))

        return [member for member, _ in self._taken(asked, name.replace("_", "-"), check, take)]

    def _work(self, nodes: set[int], rows: list[dict[str, Any]]) -> Iterator[Member]:
        plan = self._plan

        def check(content: RecordDict) -> tuple[NDArray[Any], float, bytes]:
            masked = stages.read_masked(content, plan.size, plan.extras)
            return *masked, stages.read_sum_hash(content) if plan.hashed else b""

        def take(site: str, answer: tuple[NDArray[Any], float, bytes]) -> None:
            if plan.hashed:
                self.signed[site] = Signed(hashlib.sha256(answer[0].data).digest(), answer[2])
            self.server.take_masked(site, answer[0])

        asked = [message for message in self._asked if message.metadata.dst_node_id in nodes]
        for member, (_, seconds, _) in self._taken(asked, plan.event, check, take):
            data = {"seconds": round(seconds, 3)}
            rows.append({"round": plan.round, "site": member.name, "phase": plan.event, **data})
            self._listen(Event("site_done", plan.round, member.name, plan.event, data))
            yield member

    def _taken(
        self,
        asked: list[Message],
        phase: str,
        check: Callable[[RecordDict], T],
        take: Callable[[str, T], None],
    ) -> Iterator[tuple[Member, T]]:
        """Exchange messages and yield the members whose answers were taken."""

        def taken(member: Member, content: RecordDict) -> T:
            try:
                answer = check(content)
                take(member.name, answer)
            except SecureAggregationError as error:
                raise MessageError(error.problem) from None
            return answer

        for reply, answer in self._federation.exchange(asked, self._plan.round, phase, taken):
            self._sent[reply.member.name] += messages.array_bytes(reply.message.content)
            self.last = reply.message
            yield reply.member, answer


def _opened(answer: bytes) -> None:
    if answer != stages.OPENED:
        raise SecureAggregationError("did not say that it opened its shares")
