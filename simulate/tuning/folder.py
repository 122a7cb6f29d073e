"""The folder of a tuning: what was asked, so that it can go on, and what came out."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from server.files import write_atomic
from server.report.render import html
from server.runs.folder import run_name
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.job.toml_text import toml_text
from simulate.session.asked import Asked
from simulate.session.session import Hospitals
from simulate.tuning.report import report_of
from simulate.tuning.search import RUNS, Search, Tried
from simulate.tuning.space import Space, job_of_trial, read_space
from simulate.tuning.trials import Place, Rehearsals, Submitted, Trials

SPACE, BEST, PAGE = "space.toml", "best.toml", "tuning.html"


@dataclass(frozen=True)
class Tuning:
    """A tuning that may go on.

    Attributes:
        folder: Its folder.
        job: That is varied.
        space: What varies.
        hospitals: Of all trials.
        device: On which they train.
        place: The coordinator whose hospitals do the trials; None where they are rehearsals.
    """

    folder: Path
    job: JobSpec
    space: Space
    hospitals: Hospitals
    device: str
    place: Place | None = None

    @classmethod
    def begin(
        cls,
        out: Path,
        job: JobSpec,
        space: Path,
        hospitals: Hospitals,
        device: str,
        *,
        place: Place | None = None,
    ) -> Self:
        """Make the folder of a new tuning; with a place its trials are runs of a coordinator.

        Raises:
            RunError: The space can't be used, or the folder can't be written.
        """
        read_space(space, job)
        folder = out / f"tuning-{run_name(job)}"
        Asked.of(job, hospitals, device).write(folder)
        try:
            shutil.copyfile(space, folder / SPACE)
        except OSError as error:
            raise RunError(f"can't be written ({error.strerror})", where=folder / SPACE) from None
        if place is not None:
            place.write(folder)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder of a tuning.

        Raises:
            RunError: It is none.
        """
        asked = Asked.read(folder)
        job = asked.spec()
        space, place = read_space(folder / SPACE, job), Place.read(folder)
        return cls(folder, job, space, asked.hospitals(), asked.device, place)

    def trials(self, workers: str | None, say: Callable[[str], None]) -> Trials:
        """Return what does the runs; `say` is told for whom one waits.

        Raises:
            WardroundError: They are runs of a coordinator, and nobody is logged in.
        """
        if self.place is not None:
            return Submitted(self.place.control(), self.place.project, say)
        return Rehearsals(self.hospitals, self.folder / RUNS, workers, self.device)

    def conclude(self, search: Search) -> Tried | None:
        """Write the page, and the job with the best values; return the best trial, if any came to its end."""
        write_atomic(self.folder / PAGE, html(report_of(search)).encode())
        best = search.best()
        if best is None:
            return None
        job = job_of_trial(self.job, search.metric, dict(best.values), self.folder / BEST)
        tables = job.model_dump(mode="json", exclude_none=True)
        write_atomic(self.folder / BEST, toml_text(tables).encode())
        return best
