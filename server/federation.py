"""The sites of a run: who takes part, who is drawn for a round, and what they answer."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from server.events import Event, Listener
from server.forwarding_grid import ForwardingGrid
from shared import messages
from shared.errors import RunError
from shared.flower import query_message
from shared.job import JobSpec
from shared.messages import Description, MessageError
from shared.seeds import seed_of

T = TypeVar("T")
_DESCRIBE_TIMEOUT = 600.0  # seconds; a site may have to read its masks to count voxels


@dataclass(frozen=True)
class Member:
    """A site that takes part."""

    node_id: int
    description: Description

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.description.site


@dataclass(frozen=True)
class Reply:
    """A valid answer of a site."""

    member: Member
    message: Message
    arrived: float  # seconds since the question was sent


class Federation:
    """The sites that take part in a run.

    Args:
        grid: Carries the messages.
        job: Says who may take part.
        listen: Told of every answer and every failure.
        researcher: Who submitted the job; the sites' policies ask for the name. Empty names nobody.
        strict: Turn any failure of a site into an error, as a simulation does: its sites are all at hand.
    """

    def __init__(
        self, grid: Grid, job: JobSpec, listen: Listener, *, researcher: str = "", strict: bool
    ) -> None:
        self.grid = grid
        self.researcher = researcher
        self.members: list[Member] = []
        self.left_out: dict[str, str] = {}
        self._job = job
        self._listen = listen
        self._strict = strict

    def gather(self) -> None:
        """Ask every connected site what it has for the job, and choose who takes part.

        Raises:
            RunError: Fewer sites than the job's `min_sites` can take part.
        """
        question = messages.describe_request(self._job.canonical(), self.researcher)
        asked = [query_message(messages.DESCRIBE, question, node) for node in self.grid.get_node_ids()]
        found: dict[str, list[Member]] = {}
        waiting = {message.metadata.dst_node_id for message in asked}
        for message in self._receive(asked, _DESCRIBE_TIMEOUT):
            node = message.metadata.src_node_id
            if node not in waiting:
                continue  # an answer twice, or from somebody who was not asked
            waiting.remove(node)
            try:
                description = messages.read_description(_content(message))
            except MessageError as error:
                self.fail(f"node {node}", 0, "describe", str(error))
                continue
            found.setdefault(description.site, []).append(Member(node, description))
        for node in sorted(waiting):
            self.fail(f"node {node}", 0, "describe", f"no answer within {_DESCRIBE_TIMEOUT:g} s")
        self.members = []
        for name, (member, *others) in sorted(found.items()):
            if others:  # nobody here can tell which of them it is
                self.fail(name, 0, "describe", f"{1 + len(others)} nodes say that they are this site")
            elif self._admits(member.description):
                self.members.append(member)
        if len(self.members) < self._job.strategy.min_sites:
            raise RunError(
                f"{len(self.members)} sites can take part, the job needs {self._job.strategy.min_sites}"
                + "".join(f"; {name}: {reason}" for name, reason in self.left_out.items()),
                where="[strategy] min_sites",
            )

    def _admits(self, description: Description) -> bool:
        patients, least = description.patients["train"], self._job.strategy.min_patients
        if patients >= least:
            self._listen(Event("site_joined", site=description.site, data={"patients": patients}))
            return True
        reason = f"{patients} training patient{'s' * (patients != 1)}, the job asks for {least}"
        self.left_out[description.site] = reason
        self._listen(Event("site_left_out", site=description.site, data={"reason": reason}))
        return False

    def draw(self, round_: int) -> list[Member]:
        """Return the members of a round; it depends on seed, round and names alone."""
        share, least = self._job.strategy.fraction, self._job.strategy.min_sites
        number = max(round(share * len(self.members)), least)
        if number >= len(self.members):
            return self.members
        generator = np.random.default_rng(seed_of(self._job.job.seed, "draw", round_))
        chosen = generator.choice(len(self.members), number, replace=False)
        return [self.members[index] for index in sorted(chosen)]

    def exchange(
        self, asked: Iterable[Message], round_: int, phase: str, check: Callable[[RecordDict], T]
    ) -> Iterator[tuple[Reply, T]]:
        """Send messages and yield each valid answer with what `check` made of it, as it arrives.

        Invalid answers, errors and silence are reported to the listener and left out.

        Raises:
            RunError: A site failed and the federation is strict.
        """
        start = time.monotonic()
        asked = list(asked)
        members = {member.node_id: member for member in self.members}
        waiting = {node: members[node] for node in (message.metadata.dst_node_id for message in asked)}
        for message in self._receive(asked, self._job.strategy.round_timeout):
            member = waiting.pop(message.metadata.src_node_id, None)
            if member is None:
                continue  # an answer twice, or from somebody who was not asked
            try:
                answer = check(_content(message))
            except (MessageError, ValueError) as error:
                self.fail(member.name, round_, phase, str(error))
                continue
            if head := messages.read_head(message.content):
                self._listen(Event("audit_head", round_, member.name, phase, {"head": head}))
            yield Reply(member, message, time.monotonic() - start), answer
        for member in waiting.values():
            seconds = self._job.strategy.round_timeout
            self.fail(member.name, round_, phase, f"no answer within {seconds:g} s")

    def _receive(self, asked: list[Message], timeout: float) -> Iterable[Message]:
        return self.grid.send_and_receive(asked, timeout=timeout)

    def fail(self, site: str, round_: int, phase: str, reason: str) -> None:
        """Report that a site failed.

        Raises:
            RunError: The federation is strict.
        """
        if self._strict:
            raise RunError(reason if reason.startswith(site) else f"{site}: {reason}")
        self._listen(Event("site_failed", round_, site, phase, {"reason": reason}))


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
