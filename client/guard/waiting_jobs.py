"""The jobs that wait for a person's approval, and what that person types."""

import shlex
from pathlib import Path

from client.guard.job_book import JobBook, SeenJob
from client.settings.policy import PolicyTable
from client.settings.site import load_site

HERE = Path()


def waiting_jobs(folder: Path) -> list[SeenJob]:
    """Return the jobs that nobody has decided on, at a site whose policy asks a person.

    Raises:
        SiteError: `site.toml` or the book of jobs can't be read.
    """
    book = folder / "state.sqlite"
    if not book.exists() or load_site(folder / "site.toml").policy.approval != "manual":
        return []
    return [job for job in JobBook(book).jobs() if job.decision == "waiting"]


def in_words(job: SeenJob, policy: PolicyTable) -> str:
    """Return what was decided about a job; one that nobody has to decide on does not wait."""
    undecided = job.decision == "waiting" and policy.approval == "automatic"
    return "automatic" if undecided else job.decision


def how_to_approve(digest: str, folder: Path) -> str:
    """Return the command that lets a job train, to be typed as it stands."""
    where = [] if folder.resolve() == HERE.resolve() else ["--dir", str(folder.resolve())]
    return shlex.join(["wardround", "client", "approve", digest, *where])
