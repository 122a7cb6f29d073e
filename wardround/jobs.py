"""A job, as Python has it: `wardround.Job`."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


@dataclass(frozen=True)
class Job:
    """What the hospitals are asked for: data that were checked, never code.

    Attributes:
        spec: Every table of the job, as docs/job.md lists them: `job.spec.training.learning_rate`.
    """

    spec: "JobSpec"

    @classmethod
    def read(cls, file: Path | str, changes: Mapping[str, Any] | None = None) -> "Job":
        """Read and check a job file.

        Args:
            file: TOML.
            changes: Values by dotted key, instead of the file's: `{"training.learning_rate": 3e-4}`.

        Raises:
            WardroundError: The file can't be used; names everything that is wrong with it.
        """
        from shared.job.schema import load_job

        return cls(load_job(Path(file), dict(changes or {})))

    @classmethod
    def new(
        cls,
        name: str,
        task: str,
        *,
        data: Path | str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> "Job":
        """Return a job to begin with: what `wardround job new` writes into a file.

        Args:
            name: Of the job, in lower case: `chest-x-ray`.
            task: What the model learns: `segmentation`.
            data: A manifest, or its folder: sizes, channels and classes are read from it.
            changes: As for `read`.

        Raises:
            WardroundError: The name, the task, the data or a change can't be used.
        """
        from client.data.suggested_job import suggested
        from shared.job.schema import override, parse_job
        from shared.job.template import new_job_text

        text = new_job_text(name, task, lambda: {} if data is None else suggested(Path(data), task))
        tables = tomllib.loads(text)
        override(tables, dict(changes or {}), None)
        return cls(parse_job(tables, None))

    def changed(self, changes: Mapping[str, Any]) -> "Job":
        """Return the job with other values, by dotted key.

        Raises:
            WardroundError: A key or a value can't be used.
        """
        from shared.job.schema import override, parse_job

        tables = json.loads(self.spec.canonical())
        override(tables, dict(changes), None)
        return Job(parse_job(tables, None))

    @property
    def name(self) -> str:
        """Of the job."""
        return self.spec.job.name

    @property
    def task(self) -> str:
        """What the model learns."""
        return self.spec.task.name

    @property
    def rounds(self) -> int:
        """How many there are at most."""
        return self.spec.job.rounds

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked: what a hospital approves."""
        return self.spec.digest()

    def __repr__(self) -> str:
        return f"<Job {self.name}: {self.task}, {self.rounds} rounds, digest {self.digest[:12]}>"


def as_job(job: Job | Path | str) -> Job:
    """Return a job that is given as such or as its file."""
    return job if isinstance(job, Job) else Job.read(job)
