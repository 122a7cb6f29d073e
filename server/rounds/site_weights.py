"""How much each site counts in a mean, at most."""

from collections.abc import Mapping, Sequence

from server.rounds.federation import Member
from server.runs.events import Event, Listener
from shared.strategies import StrategyOptions
from shared.strategies.largest_share import bounded
from shared.wire.messages import Update


class RoundWeights:
    """How much each site counts in one round, at most.

    Args:
        round_: Its number.
        most: By name of the site; None counts every site as one.
    """

    def __init__(self, round_: int, most: Mapping[str, int] | None) -> None:
        self.round = round_
        self._most = most

    def of(self, member: Member, update: Update) -> int:
        """Return the weight of an update."""
        return 1 if self._most is None else min(update.examples, self._most[member.name])


class Weights:
    """Bounds what the sites of a run count, by what they described and by the job's `largest_share`.

    Args:
        options: The job's.
        listen: Told of each site whose weight is cut down.
    """

    def __init__(self, options: StrategyOptions, listen: Listener) -> None:
        self._options = options
        self._listen = listen
        self._said: dict[str, int] = {}

    def of_round(self, round_: int, members: Sequence[Member]) -> RoundWeights:
        """Return the weights of a round in which these sites are asked."""
        if self._options.weight == "equal":
            return RoundWeights(round_, None)
        described = {member.name: member.description.examples["train"] for member in members}
        most = bounded(described, self._options.largest_share)
        for site, weight in most.items():
            if weight < described[site] and self._said.get(site) != weight:
                self._said[site] = weight
                data = {"weight": weight, "claimed": described[site]}
                self._listen(Event("site_weighed_less", round_, site, "train", data))
        return RoundWeights(round_, most)
