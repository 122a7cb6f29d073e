"""What goes wrong in secure aggregation."""

from shared.errors import WardroundError


class SecureAggregationError(WardroundError):
    """A message that does not fit the protocol, or a round that can't be finished; nothing was revealed."""
