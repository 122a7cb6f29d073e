"""Where a site stands that does not take part in a run, and when it is asked again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHORTEST_PAUSE, _LONGEST_PAUSE = 15.0, 900.0  # before a site is asked again that has said no, or nothing


@dataclass(frozen=True)
class Standing:
    """Where a site stands that does not take part.

    Attributes:
        words: Its state.
        since: Time (ISO 8601, UTC).
        is_open: Whether it may still come.
        holds: Whether a run that could begin waits for it: it is there, and may say yes.
    """

    words: str
    since: str
    is_open: bool = False
    holds: bool = False


@dataclass
class Pause:
    """Until when a site is left in peace."""

    end: float = 0.0  # monotonic
    length: float = _SHORTEST_PAUSE

    def begin(self) -> None:
        """Leave the site in peace, each time for longer."""
        self.end = time.monotonic() + self.length
        self.length = min(2 * self.length, _LONGEST_PAUSE)


def standings_in(about: Mapping[str, Any]) -> dict[str, Standing]:
    """Return where sites stood when the process of a run ended that was waiting."""
    sites = (about.get("waiting") or {}).get("sites", {})
    return {name: Standing(one["state"], one["since"]) for name, one in sites.items()}
