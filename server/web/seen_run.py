"""A run as one person may see it: whatever is read of its folder goes through `Figures`."""

import csv
from pathlib import Path
from typing import Any, Self

from server.registry.people import Role
from server.runs.file_copies import open_file
from server.runs.visibility import FILTERED, Figures
from shared.job.schema import JobSpec
from shared.run_folder import SITES, RunRecord


class SeenRun(RunRecord):
    """What the folder of a run says to somebody of a role."""

    def __init__(self, path: Path, job: JobSpec, role: Role | None = None) -> None:
        super().__init__(path, job)
        self._figures = Figures(super().read_description(), role)

    @classmethod
    def seen(cls, run: RunRecord, role: Role) -> Self:
        """Return a run as a role may see it."""
        return cls(run.path, run.job, role)

    def read_description(self) -> dict[str, Any]:
        """Return what `run.json` says, as far as it may be seen."""
        return self._figures.description(super().read_description())

    def text(self, name: str) -> str:
        """Return the content of a file, as far as it may be seen.

        Raises:
            RunError: It can't be read.
        """
        if self._figures.everything or name not in FILTERED:
            return super().text(name)
        with open_file(self.path, name) as file:
            return b"".join(self._figures.file(name, file, self._site_rows)).decode(errors="replace")

    def _site_rows(self) -> list[dict[str, str]]:
        """Return the rows of `sites.csv`, whoever asks."""
        return list(csv.DictReader(super().text(SITES).splitlines()))
