"""How long answers are waited for: to a time that can be brought forward once enough of them are there."""

import math
import time

from shared.strategies import StrategyOptions

_GRACE = 4.0  # times what the quorum took


class Deadline:
    """The end of a wait; whoever waits asks again how much time is left.

    Args:
        seconds: From now on; None waits for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._start = time.monotonic()
        self._end = math.inf if seconds is None else self._start + seconds
        self.was_shortened = False

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float | None:
        """Seconds that are left, not below 0; None where there is no end."""
        return None if math.isinf(self._end) else max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the end has come."""
        return time.monotonic() >= self._end

    def shorten(self, seconds: float) -> None:
        """Let the wait end after some seconds, if it doesn't end sooner."""
        end = time.monotonic() + seconds
        if end < self._end:
            self._end, self.was_shortened = end, True


class Quorum:
    """Shortens a wait once a quorum of the sites has answered (Bonawitz et al., MLSys 2019).

    Args:
        options: The job's.
        asked: Number of sites that were asked.
        deadline: Of the wait.
        grace: Seconds that stragglers get; None takes four times what the quorum took.
        least_grace: Seconds that they get at least then.
    """

    def __init__(
        self,
        options: StrategyOptions,
        asked: int,
        deadline: Deadline,
        grace: float | None,
        least_grace: float,
    ) -> None:
        self._valid_needed = min(options.min_sites, asked)
        self._needed = max(self._valid_needed, math.ceil(options.quorum * asked - 1e-9))
        self._grace = grace
        self._least_grace = least_grace
        self._deadline = deadline
        self._heard = self._valid = 0
        self._reached = False

    def heard(self, *, valid: bool) -> None:
        """Take note of an answer; one that isn't valid counts as heard, but not for `min_sites`."""
        self._heard += 1
        self._valid += valid
        if self._reached or self._heard < self._needed or self._valid < self._valid_needed:
            return
        self._reached = True
        grace = self._grace
        if grace is None:
            grace = max(self._least_grace, _GRACE * self._deadline.elapsed)
        self._deadline.shorten(grace)
