"""Flower's Grid with eyes open: answers are fetched as they arrive, not by a clock of three seconds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message

from server.gateway.answer_files import Inbox
from server.gateway.model_files import Outbox
from server.gateway.notices import Rope
from server.rounds.deadline import Deadline
from server.rounds.forwarding_grid import ForwardingGrid
from server.rounds.site_grid import SiteGrid
from shared.flower.inline import identity_of
from shared.flower.mailbox import HttpGrid, Mailbox, spoiled
from shared.flower.stored import put_in, take_out

_SOONEST_LOOK, _LATEST_LOOK = 0.08, 1.0  # seconds between looks for answers
_PATIENCE = 0.04  # look again after this part of the time waited so far: so much later an answer is seen
_NOT_CONNECTED = 5  # Flower's code for a node whose heartbeats have ended
_SMALL = 2**16  # bytes
_GRACE = 1.0  # seconds that a message outlives the wait for its answer


class AttentiveGrid(ForwardingGrid, SiteGrid):
    """Wraps a Grid; the same, but `send_and_receive` yields each answer soon after it is there.

    Args:
        grid: Flower's, of a deployment.
        outbox: From where sites fetch what is large in their messages.
        inbox: Where what is large in their answers comes.
        names: Asks the coordinator which site each node is.
        sites: Asks it for the names of all sites of the run's project.
    """

    def __init__(
        self,
        grid: HttpGrid,
        outbox: Outbox,
        inbox: Inbox,
        names: Callable[[], Mapping[int, str]],
        sites: Callable[[], Set[str]],
    ) -> None:
        super().__init__(grid)
        self._outbox = outbox
        self._inbox = inbox
        self._mailbox = Mailbox(grid)
        self._rope = Rope()
        self._names = names
        self._sites_of_project = sites
        self._sites: dict[int, str] = {}  # of all nodes that ever were: a member may be away for a moment

    def site_names(self) -> Mapping[int, str]:
        """Return the name of each node's site, as the registry admitted it by its certificate."""
        names = self._names()
        self._sites |= names
        return names

    def all_sites(self) -> Set[str]:
        """Return the names of the project's sites, connected or not."""
        return self._sites_of_project()

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are connected, of sites that the run may reach."""
        return sorted(set(super().get_node_ids()) & self._names().keys())

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages and yield their answers, small ones, for `timeout` seconds at most."""
        return self.answers(messages, Deadline(timeout), _SMALL)

    def answers(self, messages: Iterable[Message], deadline: Deadline, largest: int) -> Iterator[Message]:
        """Send messages and yield the answers as they come, until the deadline.

        Of an answer that is larger than said, the gateway takes nothing. A message lives as long as its
        answer is waited for: a site that is late knows it. Where Flower says that a node is gone, or its
        answer lost, the node's answer is that error.
        """
        asked = list(messages)
        if deadline.left is not None:
            for message in asked:
                message.metadata.ttl = deadline.left + _GRACE
        self._name_arrays(asked)
        heads = [message.metadata for message in asked]
        self._rope.expect(largest, self._questions(asked))
        identities = self._mailbox.send(asked)
        self._rope.pull()
        waiting = {identity: head for identity, head in zip(identities, heads, strict=True) if identity}
        try:
            while waiting and not deadline.is_over:
                self._wait(deadline)
                for reply in self._mailbox.collect(waiting):
                    head = waiting.pop(reply.metadata.reply_to_message_id, None)
                    if head is not None:
                        yield self._whole(_from_node(reply, head))
                    del reply  # a large one is let go before the next is fetched
        finally:
            self._rope.expect(0, {})
            if waiting:
                self._mailbox.forget(waiting)

    def _whole(self, reply: Message) -> Message:
        """Return an answer with the arrays that came before it; where they did not, it is an error."""
        if reply.has_error():
            return reply
        about = reply.metadata
        find = partial(self._inbox.take, self._sites[about.src_node_id], about.reply_to_message_id)
        try:
            return make_message(metadata=about, content=put_in(reply.content, find))
        except ValueError as error:
            return spoiled(reply, str(error))

    def _questions(self, asked: list[Message]) -> dict[str, list[str]]:
        """Return the identities that messages will have, by site."""
        questions: dict[str, list[str]] = {}
        for message in asked:
            questions.setdefault(self._sites[message.metadata.dst_node_id], []).append(identity_of(message))
        return questions

    def _wait(self, deadline: Deadline) -> None:
        """Return when there may be an answer, at the latest after a while."""
        soonest = _LATEST_LOOK if self._rope.hangs else _SOONEST_LOOK
        wait = min(max(deadline.elapsed * _PATIENCE, soonest), _LATEST_LOOK)
        self._rope.wait(wait if deadline.left is None else min(wait, deadline.left))

    def _name_arrays(self, messages: list[Message]) -> None:
        """Take large arrays out of messages; what several messages share is done once."""
        names: dict[int, str] = {}  # of arrays, which are the same objects in every message

        def put(data: bytes) -> str:
            if id(data) not in names:
                names[id(data)] = self._outbox.put(data)
            return names[id(data)]

        contents = {id(message.content): message.content for message in messages}
        short = {key: take_out(content, put) for key, content in contents.items()}
        for message in messages:
            message.content = short[id(message.content)]
        self._outbox.drop_unused()


def _from_node(reply: Message, asked: Metadata) -> Message:
    """Return a reply as the node's that was asked: Flower answers in its own name for nodes that can't."""
    if reply.metadata.src_node_id != asked.dst_node_id:
        gone = reply.error.code == _NOT_CONNECTED
        return _error(reply.error.code, "is not connected" if gone else "its answer was lost", asked)
    return reply


def _error(code: int, reason: str, asked: Metadata) -> Message:
    return Message(Error(code, reason), reply_to=Message(content=RecordDict(), metadata=asked))
