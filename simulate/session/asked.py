"""What was asked of many rehearsals together, in a file, so that they can go on another day."""

import json
from pathlib import Path
from typing import Any, Self

from client.data.manifest.splits import SplitTable
from server.files import write_atomic
from shared.errors import RunError
from shared.job.schema import JobSpec, parse_job
from shared.table import Table
from simulate.session.session import Hospitals

ASKED = "asked.json"


class Asked(Table):
    """A job, and where its hospitals come from; paths are whole."""

    job: dict[str, Any]
    files: tuple[Path, ...] = ()
    data: Path | None = None
    count: int | None = None
    scheme: str | None = None
    scanner_shift: bool = False
    shares: SplitTable = SplitTable()
    starts: Path = Path()
    device: str = "cpu"

    @classmethod
    def of(cls, job: JobSpec, hospitals: Hospitals, device: str) -> Self:
        """Return what was asked."""
        return cls(
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

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from a folder.

        Raises:
            RunError: There is none, or it can't be read.
        """
        file = folder / ASKED
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"does not say what was asked ({error})", where=file) from None

    def write(self, folder: Path) -> None:
        """Write it into a new folder.

        Raises:
            RunError: The folder is there, or can't be made.
        """
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"can't be made ({error.strerror})", where=folder) from None
        write_atomic(folder / ASKED, self.model_dump_json(indent=2).encode())

    def spec(self) -> JobSpec:
        """Return the job."""
        return parse_job(self.job, ASKED)

    def hospitals(self) -> Hospitals:
        """Return where the hospitals come from."""
        return Hospitals(
            self.files,
            self.data,
            self.count,
            self.scheme,
            self.scanner_shift,
            shares=self.shares,
            starts=self.starts,
        )
