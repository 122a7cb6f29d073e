"""A run that has lost its sites for a while waits for them as at its beginning, and repeats the round."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from server.runs.events import Event
from server.runs.folder import RunFolder
from shared.errors import RunError
from shared.wire.messages import CRASH
from shared.wire.site_states import state_of

if TYPE_CHECKING:
    from server.rounds.federation import Federation
    from shared.job.schema import JobSpec

NO_ANSWER = -1  # in place of a code
_MOST_TRIES = 3  # of one round: sites that say yes and are lost again each time come to nothing


class Loop(Protocol):
    """What asks the sites of a run, to its end."""

    job: "JobSpec"

    @property
    def federation(self) -> "Federation": ...  # noqa: D102

    def execute(self, *, resume: bool = False) -> Any:
        """Go through all that is left of the run."""


L = TypeVar("L", bound=Loop)


class MissingSitesError(RunError):
    """Too few sites answered; nothing of the round is kept."""


def is_silent(code: int) -> bool:
    """Say whether an error reply is nobody's own words: Flower's, or none at all."""
    return code != 0 and code < CRASH


def comes_back(code: int) -> bool:
    """Say whether a site may answer later by itself: it is away, outside its hours, or has not decided."""
    state = state_of(code)
    return is_silent(code) if state is None else state.passes


def to_the_end(run: RunFolder, make: Callable[[], L]) -> L:
    """Run a job to its end; where too few sites answer and others may come back, wait for them.

    The round is repeated from the last checkpoint, as it is where somebody resumes the run. How often one
    failed stands in `run.json`, since a run that waits goes on in another process.

    Args:
        run: Its folder; the run goes on from the checkpoint, where there is one.
        make: Makes a loop over that folder.

    Returns:
        The loop that came to the end.

    Raises:
        RunError: The sites did not come back within the job's `wait`, or one round failed three times.
    """
    while True:
        loop = make()
        try:
            loop.execute(resume=run.has_checkpoint())
        except MissingSitesError as error:
            round_ = run.last_round() + 1
            before = run.read_description().get("failed_round") or {}
            times = 1 + (before["times"] if before.get("round") == round_ else 0)
            waits = loop.job.strategy.wait and loop.federation.away
            again = bool(waits) and times < _MOST_TRIES
            run.describe(failed_round={"round": round_, "times": times} if again else None)
            if not again:
                raise
            loop.federation.listen(Event("round_repeated", round_, data={"reason": error.problem}))
        else:
            return loop
