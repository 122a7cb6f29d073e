"""One round of training under secure aggregation: the stages that take the place of the plain exchange.

The coordinator adds up masked updates, and gets the weighted mean and nothing else. A site that fails a
stage counts as dropped out; too few left end the round with the reason.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from server.events import Event, Listener
from server.federation import Federation, Member
from server.strategies import WEIGHT
from shared import messages
from shared.errors import RunError
from shared.flower import query_message
from shared.job import JobSpec
from shared.messages import MessageError
from shared.privacy.filters import UpdateFilter
from shared.privacy.secagg import messages as stages
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.records import Envelopes, Header, KeyMessage, Reveal
from shared.privacy.secagg.server import SecAggServer

T = TypeVar("T")


class SecureRound:
    """The stages of one round.

    Args:
        federation: Carries the messages.
        job: What is asked.
        round_: Number of the round.
        update_filter: Says which part of the model is in the sum.
        base: The model that is sent out; what is not in the sum stays as it is there.
        listen: Told of every site that is done.
    """

    def __init__(
        self,
        federation: Federation,
        job: JobSpec,
        round_: int,
        *,
        update_filter: UpdateFilter,
        base: NDArray[np.float32],
        listen: Listener,
    ) -> None:
        self._federation = federation
        self._job = job
        self._round = round_
        self._filter = update_filter
        self._base = base
        self._listen = listen
        header = Header(bytes.fromhex(job.digest()), round_, secrets.token_bytes(32))
        self._server = SecAggServer(header, update_filter.size, job.strategy.min_sites)
        self._last: Message | None = None
        self._sent: Counter[str] = Counter()  # bytes by site, of all stages
        self.asked = 0  # bytes that went out to all sites, besides the model

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
            raise RunError(
                f"secure aggregation: {error.problem}",
                where=f"round {self._round}",
                remedy="Nothing of a single site was revealed. Once the sites are back, go on with --resume.",
            ) from None

    def _mean_of(self, asked: list[Message], rows: list[dict[str, Any]]) -> Message:
        server = self._server
        members = {member.node_id: member for member in self._federation.members}
        present = [members[message.metadata.dst_node_id] for message in asked]
        header = server.header.to_bytes()
        present = self._stage(stages.KEYS, present, lambda _: header, KeyMessage.from_bytes, server.take_keys)
        roster = server.roster().to_bytes()
        present = self._stage(
            stages.SHARES, present, lambda _: roster, Envelopes.from_bytes, server.take_shares
        )
        inboxes = server.inboxes()
        present = self._stage(
            stages.INBOX, present, lambda site: inboxes[site].to_bytes(), _opened, lambda *_: None
        )
        nodes = {member.node_id for member in present}
        training = [message for message in asked if message.metadata.dst_node_id in nodes]
        present = list(self._train(training, rows))
        outcome = server.outcome().to_bytes()
        present = self._stage(stages.AGREE, present, lambda _: outcome, bytes, server.take_signature)
        agreement = server.agreement().to_bytes()
        self._stage(stages.REVEAL, present, lambda _: agreement, Reveal.from_bytes, server.take_reveal)
        for row in rows:
            row["bytes"] = self._sent[row["site"]]
        mean = server.mean()
        message = self._last
        assert message is not None  # noqa: S101 (a threshold of sites has answered)
        message.content.clear()
        message.content[messages.ARRAYS] = messages.vector_record(
            self._filter.expand(mean.vector, self._base)
        )
        message.content[messages.METRICS] = MetricRecord({WEIGHT: 1, "loss": mean.loss})
        return message

    def _stage(
        self,
        name: str,
        members: Iterable[Member],
        body: Callable[[str], bytes],
        parse: Callable[[bytes], T],
        take: Callable[[str, T], None],
    ) -> list[Member]:
        """Ask for a stage; return those who answered as they should."""
        asked = []
        for member in members:
            content = stages.stage_request(self._job.canonical(), self._round, body(member.name))
            self.asked += messages.array_bytes(content)
            asked.append(query_message(name, content, member.node_id))

        def check(content: RecordDict) -> T:
            return parse(stages.read_stage(content))

        return [member for member, _ in self._taken(asked, name.replace("_", "-"), check, take)]

    def _train(self, asked: list[Message], rows: list[dict[str, Any]]) -> Iterator[Member]:
        def check(content: RecordDict) -> tuple[Any, float]:
            return stages.read_masked(content, self._filter.size)

        def take(site: str, answer: tuple[Any, float]) -> None:
            self._server.take_masked(site, answer[0])

        for member, (_, seconds) in self._taken(asked, "train", check, take):
            data = {"seconds": round(seconds, 3)}
            rows.append({"round": self._round, "site": member.name, "phase": "train", **data})
            self._listen(Event("site_done", self._round, member.name, "train", data))
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

        for reply, answer in self._federation.exchange(asked, self._round, phase, taken):
            self._sent[reply.member.name] += messages.array_bytes(reply.message.content)
            self._last = reply.message
            yield reply.member, answer


def _opened(answer: bytes) -> None:
    if answer != stages.OPENED:
        raise SecureAggregationError("did not say that it opened its shares")
