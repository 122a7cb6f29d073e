"""Runs of a real federation: `wardround.submit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.finished import Run
from wardround.jobs import Job, as_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.runs.control import RunControl
    from server.runs.events import Event


@dataclass(frozen=True)
class Submitted:
    """A run of a federation, by its name there.

    Attributes:
        name: Of the run.
        control: All that can be done with the runs of the coordinator.
    """

    name: str
    control: "RunControl"

    @property
    def status(self) -> str:
        """`queued`, `waiting`, `running`, `finished`, `failed`, `stopped` or `interrupted`."""
        return self.control.look(self.name).row.status

    def events(self) -> "Iterator[Event]":
        """Yield what happened and what happens, until the run ends."""
        return self.control.follow(self.name)

    def wait(self) -> None:
        """Print the progress until the run ends, then its results.

        Raises:
            WardroundError: It has not finished well; says why.
        """
        from server.report.show_run import show_run

        show_run(self.control, self.name)

    def stop(self) -> None:
        """Stop it; `resume` goes on with it."""
        self.control.stop(self.name)

    def resume(self) -> None:
        """Go on after its last whole round."""
        self.control.resume(self.name)

    def fetch(self, out: Path | str = ".") -> Run:
        """Copy the run's folder below `out`, check its models, and return the run.

        Raises:
            WardroundError: A file does not arrive as it was sent, or the folder is there already.
        """
        return Run(self.control.fetch(self.name, Path(out)))


def submit(
    job: Job | Path | str, *, project: str | None = None, coordinator: Path | str | None = None
) -> Submitted:
    """Run a job on a federation's hospitals.

    Args:
        job: The job, or its file.
        project: Of the run; None is your only one.
        coordinator: Its folder on this machine; None is the one of `wardround login`.

    Raises:
        WardroundError: Nobody is logged in, the coordinator refuses the job, or can't be reached.
    """
    from server.runs.reach import control_of

    control = control_of(None if coordinator is None else Path(coordinator))
    return Submitted(control.submit(as_job(job).spec, project), control)
