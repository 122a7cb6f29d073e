"""What the options of a simulation change in a job."""

from pathlib import Path

from shared.job.schema import load_job
from simulate.cli.options import overrides_of

JOBS = Path(__file__).parents[3] / "configs" / "jobs"


def test_every_shipped_job_has_a_quick_form() -> None:
    for file in sorted(JOBS.glob("*.toml")):
        job = load_job(file, overrides_of(None, quick=True))
        assert (job.job.rounds, job.training.local_steps) == (1, 1)


def test_what_is_said_beside_quick_counts() -> None:
    job = load_job(JOBS / "quickstart.toml", overrides_of(["training.local_steps=7"], rounds=3, quick=True))
    assert (job.job.rounds, job.training.local_steps) == (3, 7)
