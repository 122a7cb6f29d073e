"""What a site answers in place of work where nothing has failed: a state, each with a code of its own.

A code is all that the coordinator goes by; the words beside it are for people.
"""

from enum import IntEnum


class SiteState(IntEnum):
    """Why a site does nothing for a job at this moment. The number is the code of the error reply."""

    AWAITS_APPROVAL = 1101
    DENIED = 1102
    NO_DATASET = 1103
    OUTSIDE_HOURS = 1104
    USED_UP = 1105

    @property
    def words(self) -> str:
        """Return it in words, as it stands behind the site's name."""
        return _WORDS[self]

    @property
    def passes(self) -> bool:
        """Say whether the site has not decided yet, or will have time by itself: it is worth waiting for."""
        return self in (SiteState.AWAITS_APPROVAL, SiteState.OUTSIDE_HOURS, SiteState.USED_UP)


_WORDS = {
    SiteState.AWAITS_APPROVAL: "approval",
    SiteState.DENIED: "denied",
    SiteState.NO_DATASET: "no such dataset",
    SiteState.OUTSIDE_HOURS: "outside its hours",
    SiteState.USED_UP: "today's requests are used up",
}


def state_of(code: int) -> SiteState | None:
    """Return the state of which an error reply tells by its code; None for an error that is none."""
    return SiteState(code) if code in _WORDS else None
