"""A Flower Grid whose nodes are sites on this machine, served by workers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr.app import Error, Message, RecordDict
from numpy.typing import NDArray

from client.workers.records import pack, unpack
from server.rounds.deadline import Deadline
from server.rounds.site_grid import SiteGrid
from shared.errors import WardroundError
from shared.flower import COORDINATOR_NODE, Run, assign_id, become, empty_run
from shared.seeds import seed_of
from shared.wire import messages
from simulate.workers import Call, Outcome, Workers


class LocalGrid(SiteGrid):
    """Carries messages to simulated sites; answers come as they are ready, without a look by the clock.

    Args:
        workers: Serve the sites.
        sites: Their names; node ids are derived from them.
    """

    def __init__(self, workers: Workers, sites: Iterable[str]) -> None:
        become(COORDINATOR_NODE)
        self._workers = workers
        self._sites = {node_id(site): site for site in sites}
        self._run = empty_run()
        self._asked: dict[str, Message] = {}
        self._answers: dict[str, Message] = {}
        self._states: dict[str, Any] = {}  # what each site remembers: any worker may serve it next
        self._count = 0

    def set_run(self, run: Run) -> None:
        """Set the run that the Grid works for."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that the Grid works for."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Build a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids of all sites."""
        return list(self._sites)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to the workers; returns their ids."""
        calls, ids = [], []
        shared: dict[int, NDArray[Any]] = {}
        for message in messages:
            self._count += 1
            identity = str(self._count)
            self._asked[identity] = assign_id(message, identity)
            payload, arrays = pack(message.content, shared)
            site = self._sites[message.metadata.dst_node_id]
            payload |= {"type": message.metadata.message_type, "id": identity}
            payload["state"] = self._states.get(site, {"records": {}})
            calls.append(Call(self._count, site, message.metadata.message_type, payload, arrays))
            ids.append(identity)
        self._workers.submit(calls)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the answers that are ready."""
        self._collect(0.0)
        return [self._answers.pop(identity) for identity in message_ids if identity in self._answers]

    def site_names(self) -> Mapping[int, str]:
        """Return the name of each node's site."""
        return self._sites

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send messages and yield each answer as it is ready; after `timeout` seconds forget the others."""
        return self._answers_until(messages, Deadline(timeout))

    def answers(self, messages: Iterable[Message], deadline: Deadline, largest: int) -> Iterator[Message]:
        """Send messages and yield each answer as it is ready; a simulated site sends none too large."""
        return self._answers_until(messages, deadline)

    def _answers_until(self, messages: Iterable[Message], deadline: Deadline) -> Iterator[Message]:
        """Send messages and yield each answer as it is ready; at the deadline forget the others."""
        waiting = set(self.push_messages(messages))
        try:
            while waiting and not deadline.is_over:
                self._collect(deadline.left)
                for identity in sorted(waiting & self._answers.keys(), key=int):
                    waiting.remove(identity)
                    yield self._answers.pop(identity)
        finally:
            if waiting:
                self._workers.cancel()
                for identity in waiting:
                    self._asked.pop(identity, None)

    def _collect(self, timeout: float | None) -> None:
        for outcome in self._workers.wait(timeout):
            asked = self._asked.pop(str(outcome.id), None)
            if asked is not None:
                site = self._sites[asked.metadata.dst_node_id]
                self._states[site] = (outcome.payload or {}).get("state", {"records": {}})
                self._answers[str(outcome.id)] = _answer(asked, outcome)


def node_id(site: str) -> int:
    """Return the node id of a simulated site."""
    return seed_of("node", site)


def _answer(asked: Message, outcome: Outcome) -> Message:
    if isinstance(outcome.error, WardroundError):
        return Message(Error(messages.SITE_ERROR, str(outcome.error)), reply_to=asked)
    if outcome.payload is None:
        return Message(Error(messages.CRASH, str(outcome.error)), reply_to=asked)
    if "error" in outcome.payload:
        return Message(Error(*outcome.payload["error"]), reply_to=asked)
    return Message(unpack(outcome.payload, outcome.arrays), reply_to=asked)
