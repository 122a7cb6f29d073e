"""The folder of a tuning: what was asked, so that it can go on, and what came out."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from client.data.manifest.splits import SplitTable
from server.files import write_atomic
from server.report.render import html
from server.runs.folder import run_name
from shared.errors import RunError
from shared.job.schema import JobSpec, parse_job
from shared.job.toml_text import toml_text
from shared.table import Table
from simulate.session.session import Hospitals
from simulate.tuning.report import report_of
from simulate.tuning.search import Search, Tried
from simulate.tuning.space import Space, job_of_trial, read_space

ASKED, SPACE, BEST, PAGE = "asked.json", "space.toml", "best.toml", "tuning.html"


class Asked(Table):
    """What was asked, beside the space."""

    job: dict[str, Any]
    files: tuple[Path, ...] = ()
    data: Path | None = None
    count: int | None = None
    scheme: str | None = None
    scanner_shift: bool = False
    shares: SplitTable = SplitTable()
    starts: Path = Path()
    device: str = "cpu"


@dataclass(frozen=True)
class Tuning:
    """A tuning that may go on.

    Attributes:
        folder: Its folder.
        job: That is varied.
        space: What varies.
        hospitals: Of all trials.
        device: On which they train.
    """

    folder: Path
    job: JobSpec
    space: Space
    hospitals: Hospitals
    device: str

    @classmethod
    def begin(cls, out: Path, job: JobSpec, space: Path, hospitals: Hospitals, device: str) -> Self:
        """Make the folder of a new tuning.

        Raises:
            RunError: The space can't be used, or the folder can't be written.
        """
        read_space(space, job)
        folder = out / f"tuning-{run_name(job)}"
        asked = Asked(
            job=json.loads(job.canonical()),
            files=tuple(file.resolve() for file in hospitals.files),
            data=None if hospitals.data is None else hospitals.data.resolve(),
            count=hospitals.count,
            scheme=hospitals.scheme,
            scanner_shift=hospitals.scanner_shift,
            shares=hospitals.shares,
            starts=hospitals.starts.resolve(),
            device=device,
        )
        try:
            folder.mkdir(parents=True)
            shutil.copyfile(space, folder / SPACE)
            write_atomic(folder / ASKED, asked.model_dump_json(indent=2).encode())
        except OSError as error:
            raise RunError(f"can't be written ({error.strerror})", where=folder) from None
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder of a tuning.

        Raises:
            RunError: It is none.
        """
        try:
            asked = Asked.model_validate_json((folder / ASKED).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"is not the folder of a tuning ({error})", where=folder) from None
        job = parse_job(asked.job, folder / ASKED)
        hospitals = Hospitals(
            asked.files,
            asked.data,
            asked.count,
            asked.scheme,
            asked.scanner_shift,
            shares=asked.shares,
            starts=asked.starts,
        )
        return cls(folder, job, read_space(folder / SPACE, job), hospitals, asked.device)

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
