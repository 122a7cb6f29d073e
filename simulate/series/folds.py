"""A run of a cross-validation: it ends before its test, which stays closed whatever is compared."""

from collections.abc import Sequence

from rich.console import Console

from server.runs.events import Event
from server.runs.folder import RunFolder
from shared.flower import RunStopped
from shared.run_folder import RunRecord
from simulate.session.session import carry_out

_REASON = "a run of a cross-validation ends before its test; resume it to have the test"


class FoldEnded(RunStopped):
    """The last round is over."""


def carry_out_fold(
    run: RunFolder, workers: str | None, console: Console, *, resume: bool, track: Sequence[str]
) -> None:
    """Train and validate to the end of the last round; arguments and errors are those of `carry_out`."""

    def end(event: Event) -> None:
        if event.kind == "round_finished" and event.round == run.job.job.rounds:
            raise FoldEnded

    try:
        carry_out(run, workers, console, resume=resume, track=track, also=end)
    except FoldEnded:
        run.describe(reason=_REASON)


def is_over(run: RunRecord) -> bool:
    """Say whether a run has done its last round."""
    return run.last_round() == run.job.job.rounds
