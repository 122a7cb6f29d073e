"""Where the runs of trials are done: in rehearsals, or on the hospitals of a coordinator."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from rich.console import Console

from server.files import AGAIN, write_atomic
from server.runs.control import RunControl
from server.runs.events import Event, Listener
from server.runs.folder import RunFolder
from server.runs.reach import control_of
from shared.errors import RunError
from shared.flower import RunStopped
from shared.job.schema import JobSpec
from shared.table import Table
from simulate.session.session import Hospitals, execute, start
from simulate.tuning.space import without_test

PLACE = "federation.json"
_NOT_TESTED = "a trial ends before its test; resume it to have the test"


class TrialEnded(RunStopped):
    """A trial has seen enough: all of its rounds, or that it will be none of the best."""


class EndedEarly(TrialEnded):
    """A trial will be none of the best."""


class Trials(Protocol):
    """Does the runs of trials."""

    goes_on: bool
    """Whether a run goes on by itself while nobody follows it."""

    def begin(self, job: JobSpec) -> str:
        """Begin a run of a trial's job; returns its name.

        Raises:
            WardroundError: It can't begin.
        """

    def follow(self, name: str, watch: Listener) -> None:
        """Tell what happens in a run from its beginning, until it ends or what is told raises TrialEnded.

        Raises:
            WardroundError: It could not come to its end.
        """


class Rehearsals:
    """Runs on this machine; each ends before its test.

    Args:
        hospitals: Of all trials.
        folder: Holds the runs.
        workers: See `simulate.session.session.execute`.
        device: On which they train.
    """

    goes_on = False

    def __init__(self, hospitals: Hospitals, folder: Path, workers: str | None, device: str) -> None:
        self._hospitals, self._folder = hospitals, folder
        self._workers, self._device = workers, device

    def begin(self, job: JobSpec) -> str:
        """Make the folder of a run, once the data were read."""
        return start(job, self._hospitals, self._folder, self._device, baselines=False).path.name

    def follow(self, name: str, watch: Listener) -> None:
        """Do a run."""
        run = RunFolder.read(self._folder / name)
        try:
            execute(run, self._workers, Console(quiet=True), also=watch)
        except TrialEnded as end:
            run.describe(reason=str(end) or _NOT_TESTED)


class Place(Table):
    """Which coordinator does the runs: `federation.json` in the folder of a tuning."""

    folder: Path | None = None
    project: str | None = None

    @classmethod
    def read(cls, tuning: Path) -> Self | None:
        """Read it from the folder of a tuning; None where trials are rehearsals.

        Raises:
            RunError: It can't be read.
        """
        file = tuning / PLACE
        if not file.exists():
            return None
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"does not say where the trials are ({error})", where=file) from None

    def write(self, tuning: Path) -> None:
        """Write it into the folder of a tuning."""
        write_atomic(tuning / PLACE, json.dumps(self.model_dump(mode="json")).encode(), AGAIN)

    def control(self) -> RunControl:
        """Return the coordinator's runs; raises WardroundError where nobody is logged in."""
        return control_of(self.folder)


@dataclass(frozen=True)
class Submitted:
    """Runs on the hospitals of a coordinator, whose jobs leave the test closed.

    Attributes:
        control: The coordinator's runs.
        project: Of the runs; None is the only one.
        say: Told for whom a run waits.
    """

    control: RunControl
    project: str | None
    say: Callable[[str], None]
    goes_on = True

    def begin(self, job: JobSpec) -> str:
        """Put a run into the queue."""
        return self.control.submit(without_test(job), self.project)

    def follow(self, name: str, watch: Listener) -> None:
        """Follow a run; one that was broken off goes on, and one that is none of the best is stopped."""
        row = self.control.look(name).row
        if row.status in ("failed", "stopped", "interrupted"):
            self.control.resume(name)
        over = False
        for event in self.control.follow(name):
            self._tell_waiting(name, event)
            try:
                watch(event)
            except EndedEarly:
                with suppress(RunError):  # it has just ended
                    self.control.stop(name)
                return
            except TrialEnded:
                over = True
        if not over:
            row = self.control.look(name).row
            reason = row.reason or "no reason is known"
            raise RunError(
                f"the run of a trial is {row.status} after round {row.round}: {reason}",
                where=name,
                remedy="Put that right; `wardround tune --resume FOLDER` goes on with this run.",
            )

    def _tell_waiting(self, name: str, event: Event) -> None:
        if event.kind == "run_waiting":
            self.say(f"{name} waits for its hospitals: {event.data.get('for', '')}")
