"""The refusals that are states of a site, not errors: what they tell a coordinator is a code of their own."""

from datetime import datetime, time
from typing import ClassVar

from client.settings.policy import PolicyError, PolicyTable
from shared.wire.site_states import SiteState


class StateError(PolicyError):
    """A request that is refused for as long as the site is in a state.

    Attributes:
        state: Which one.
    """

    state: ClassVar[SiteState]


class AwaitsApprovalError(StateError):
    """Nobody at the hospital has decided about the job."""

    state = SiteState.AWAITS_APPROVAL


class DeniedError(StateError):
    """The hospital has denied the job."""

    state = SiteState.DENIED


class NoDatasetError(StateError):
    """The site offers no such dataset; the remedy says, at the site alone, what it offers."""

    state = SiteState.NO_DATASET

    @property
    def rule(self) -> str:
        """The key of the job that names it."""
        return "job.dataset"


class OutsideHoursError(StateError):
    """The site works for the federation at other times of the day."""

    state = SiteState.OUTSIDE_HOURS


class UsedUpError(StateError):
    """The site does no more today."""

    state = SiteState.USED_UP


def check_moment(policy: PolicyTable, researcher: str, now: datetime, site: str) -> None:
    """Check who asks, and when; a simulation, where nobody asks, does not.

    Args:
        policy: The site's.
        researcher: As the coordinator names them; empty where it names nobody.
        now: In local time.
        site: Name of the site, for the error.

    Raises:
        PolicyError: A rule refuses the request.
    """
    if policy.researchers is not None and researcher not in policy.researchers:
        who = f"'{researcher}'" if researcher else "a job without a researcher"
        raise PolicyError(f"policy.researchers does not allow {who}", where=site)
    if policy.hours is not None and not any(_within(now.time(), span) for span in policy.hours):
        problem = f"policy.hours allows {', '.join(policy.hours)}; here it is {now:%H:%M}"
        raise OutsideHoursError(problem, where=site)


def _within(now: time, span: str) -> bool:
    """Say if a time is in a span, which may go over midnight."""
    start, end = (time.fromisoformat(text) for text in span.split("-"))
    return start <= now < end if start < end else now >= start or now < end
