"""`wardround client jobs, approve, deny`: what may be trained here is the hospital's decision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.enrol import HERE, Folder

if TYPE_CHECKING:
    from client.guard.job_book import Decision, SeenJob

Digest = Annotated[
    str, typer.Argument(metavar="DIGEST", help="Digest of the job, or its first 20 or more digits.")
]
_SHOWN = 24  # digits of a digest, some more than a decision takes


def add_job_commands(app: typer.Typer) -> None:
    """Add this module's commands to `wardround client`."""
    for command in (jobs, approve, deny):
        app.command()(command)


def jobs(folder: Folder = HERE) -> None:
    """List the jobs that have arrived, with what was decided about each."""
    from rich.console import Console
    from rich.table import Table

    from client.guard.job_book import JobBook
    from shared.text.printable import shown

    found = JobBook(folder / "state.sqlite").jobs()
    if not found:
        print("No job has arrived here yet.")
        return
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold" if console.is_terminal else "")
    table.add_column("digest", no_wrap=True, min_width=_SHOWN)
    for title in ("job", "researcher", "decision", "by", "rounds", "first seen (UTC)"):
        table.add_column(title)
    for job in found:
        seen = job.first_seen[:16].replace("T", " ")
        cells = (job.digest[:_SHOWN], job.name, job.researcher or "-", job.decision, job.decided_by or "-")
        table.add_row(*map(shown, (*cells, job.rounds, seen)))
    console.print(table)


def approve(
    digest: Digest,
    folder: Folder = HERE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what a job would do here, ask, and let it train. A changed job must be approved again.

    A job that was approved before may ask once more for all that it has asked for.
    """
    from client.guard.approval_text import in_plain_words
    from client.guard.contributors import patients_behind
    from client.guard.job_book import JobBook
    from client.settings.site import load_site

    book = JobBook(folder / "state.sqlite")
    job = book.find(digest)
    config = load_site(folder / "site.toml")
    behind = patients_behind(folder, config, job.spec())
    for line in in_plain_words(job, config, book.served.answers(job.digest), behind):
        print(line)
    if not yes:
        typer.confirm("Approve this job?", abort=True)
    _decide(folder, job, "approved")


def deny(digest: Digest, folder: Folder = HERE) -> None:
    """Refuse a job for good, or take an approval back; what has left the site can't be called back."""
    from client.guard.job_book import JobBook

    _decide(folder, JobBook(folder / "state.sqlite").find(digest), "denied")


def _decide(folder: Path, job: "SeenJob", decision: "Decision") -> None:
    """Write a decision into the audit log, then into the book: none counts that is not in the log."""
    import getpass
    import os

    from client.guard.job_book import JobBook
    from shared.audit.log import AuditLog
    from shared.pki.key_file import KeyFile
    from shared.text.printable import printable

    user = os.environ.get("SUDO_USER") or getpass.getuser()
    log = AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))
    log.append(f"job-{decision}", job=job.digest, user=user)
    JobBook(folder / "state.sqlite").decide(job.digest, decision, user)
    print(f"{printable(job.name)}, digest {job.digest}: {decision}")
