"""What the round loop needs of a Grid besides what Flower's strategies do."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Set

from flwr.app import Message
from flwr.serverapp import Grid

from server.rounds.deadline import Deadline


class SiteGrid(Grid):
    """A Grid that knows which site each node is, and whose waiting can be cut short."""

    @abstractmethod
    def site_names(self) -> Mapping[int, str]:
        """Return the name of each node's site, from what admitted it: never from what it says itself."""

    def all_sites(self) -> Set[str]:
        """Return the names of all sites that the run may reach, of those too that are not connected."""
        return set(self.site_names().values())

    @abstractmethod
    def answers(self, messages: Iterable[Message], deadline: Deadline, largest: int) -> Iterator[Message]:
        """Send messages and yield each answer as it arrives, until the deadline, wherever it is by then.

        Args:
            messages: One a node.
            deadline: May be brought forward meanwhile.
            largest: Bytes of the largest answer that is taken.
        """
