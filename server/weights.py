"""How much each site counts in a mean, at most."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from server.events import Event, Listener
from server.federation import Member
from shared.job import StrategyOptions
from shared.messages import Update


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


def bounded(weights: Mapping[str, int], largest_share: float) -> dict[str, int]:
    """Cut down the weights that are more than a share of their sum, each to the same number.

    The sum is the one after cutting, so that no site has more than the share of what is added up. Among n
    sites a share of 1/n is always allowed.

    Args:
        weights: Of each site, not below 0.
        largest_share: In 0..1.

    Returns:
        The weights, whole numbers; those that are small enough as they were.
    """
    counting = sorted(weight for weight in weights.values() if weight > 0)
    if not counting:
        return dict(weights)
    share = max(Fraction(largest_share).limit_denominator(10**6), Fraction(1, len(counting)))
    most = _largest(counting, share)
    return {site: min(weight, most) for site, weight in weights.items()}


def _largest(ascending: list[int], share: Fraction) -> int:
    """Return the largest whole number c with c ≤ share · sum(min(weight, c))."""
    heaviest = ascending[-1]
    if heaviest <= share * sum(ascending):
        return heaviest
    kept = sum(ascending)
    for cut, weight in enumerate(reversed(ascending), 1):
        kept -= weight  # of those that are not cut: c = share · (kept + cut · c)
        below = ascending[-cut - 1] if cut < len(ascending) else 0
        if share * cut >= 1:
            return weight
        level = share * kept / (1 - share * cut)
        if level >= below:
            return max(1, int(level))
    raise AssertionError("a share of 1/n is always reached")
