"""What goes wrong in secure aggregation."""

from shared.errors import WardroundError


class SecureAggregationError(WardroundError):
    """A message that does not fit the protocol, or a round that can't be finished; nothing was revealed."""


class FewerBehindError(SecureAggregationError):
    """Sites dropped out of an evaluation, and fewer patients are left than its bins of scores allow."""


class TooFewJudgesError(SecureAggregationError):
    """Too few sites have patients on a split for the sum of their metrics to hide each of them."""
