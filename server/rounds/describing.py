"""A run that trains nothing and judges nothing: the sites' training patients are described, once."""

from typing import Any

from server.rounds.federation import Federation
from server.rounds.first_sums import sum_up
from server.rounds.joining import Joining
from server.rounds.site_grid import SiteGrid
from server.rounds.site_heads import SiteHeads
from server.runs.events import Event, Listener
from server.runs.folder import RunFolder
from server.runs.log import record_and_tell
from server.runs.places import Places
from shared.job.schema import JobSpec
from shared.privacy.secagg.wide import WORDS

USUAL_GROUP = 10
"""Patients that a site asks for behind a figure where nobody knows better: the default of `min_group`."""


class Describing:
    """Has the sites of a Grid described.

    Args:
        grid: Carries the messages.
        job: What is asked; it describes.
        run: Where what comes out is written, as the entry `described` of `run.json`.
        listen: Told of everything that happens.
        heads: Keeps the heads of the sites' audit logs; None in a simulation.
        strict: Stop at the first failure of a site.
        places: Of the coordinator's runs; None in a simulation.
        least: The sites' `min_group`, for how much noise their figures have.
    """

    def __init__(
        self,
        grid: SiteGrid,
        job: JobSpec,
        run: RunFolder,
        listen: Listener,
        *,
        heads: SiteHeads | None = None,
        strict: bool = False,
        places: Places | None = None,
        least: int = USUAL_GROUP,
    ) -> None:
        self.job = job
        self._run = run
        self._least = least
        self._listen = record_and_tell(run, listen)
        about = run.read_description()
        self.federation = Federation(
            grid,
            job,
            self._listen,
            researcher=str(about.get("researcher", "")),
            project=str(about.get("project", "")),
            strict=strict,
            numbers=0,
            states=WORDS * sum(spec.size for spec in job.statistics()),
            heads=heads,
        )
        self._joining = Joining(self.federation, run, places)

    def execute(self, *, resume: bool = False) -> None:
        """Ask all sites, and write down what they tell; a run that goes on asks all of them again.

        Raises:
            RunError: Too few sites answer, or the folder can't be written.
        """
        self._joining.gather(1)
        self._joining.describe()
        self._listen(Event("run_started", data={"rounds": 0, "sites": len(self.federation.trainers)}))
        sums = sum_up(self.federation, self.job)
        self._run.note_part(round=0, job=self.job.digest(), summed=sums.sites)
        parts = {name: _plain(part) for name, part in sums.parts.items()}
        described = {"all": _plain(sums.total), "sites": parts, "summed": sums.sites, "least": self._least}
        self._run.describe(described=described, rounds=0)
        self._listen(Event("run_finished"))


def _plain(part: Any) -> dict[str, Any]:
    return {name: numbers.tolist() for name, numbers in part.items()}
