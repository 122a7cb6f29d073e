"""A Grid that sees each update as it comes."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator

from flwr.app import Message

from server.rounds.deadline import Deadline
from simulate.session.grid import LocalGrid

_TRAIN = "train"  # Flower's word for it


class WatchedGrid(LocalGrid):
    """Calls `take` with each update before the coordinator has it."""

    @abstractmethod
    def take(self, site: str, question: Message, reply: Message) -> None:
        """See an update, and change it if need be.

        Args:
            site: Whose it is.
            question: What the site was sent.
            reply: Its answer, which is no error.
        """

    def answers(self, messages_: Iterable[Message], deadline: Deadline, largest: int) -> Iterator[Message]:
        """See the base class."""
        asked = {message.metadata.dst_node_id: message for message in messages_}
        for reply in super().answers(asked.values(), deadline, largest):
            question = asked[reply.metadata.src_node_id]
            if question.metadata.message_type == _TRAIN and not reply.has_error():
                self.take(self.site_names()[reply.metadata.src_node_id], question, reply)
            yield reply
