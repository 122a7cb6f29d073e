"""The counts that a coordinator on another machine has; see `server/gateway/counts_api.py`."""

from pydantic import TypeAdapter, ValidationError

from server.folder.login import Login
from server.registry.told_counts import SiteCounts
from shared.wire.counts import COUNTS
from shared.wire.https import MIB, CoordinatorError, exchange

_LONGEST = 64 * MIB


def told_counts(login: Login) -> list[SiteCounts]:
    """Return what the hospitals of a person's projects have told.

    Raises:
        CoordinatorError: The coordinator can't be reached, refuses, or answers strangely.
    """
    with login.client() as client:
        content = exchange(client, "GET", f"{login.url}{COUNTS}", longest=_LONGEST)
    try:
        return TypeAdapter(list[SiteCounts]).validate_json(content)
    except ValidationError:
        raise CoordinatorError(
            "its answer is not understood",
            where=login.url,
            remedy="Coordinator and researcher must run the same version of Wardround.",
        ) from None
