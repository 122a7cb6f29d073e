"""`wardround client jobs, approve, deny`: what may be trained here is the hospital's decision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.cli.ask import Yes, confirm

if TYPE_CHECKING:
    from client.guard.job_book import Decision, SeenJob
    from client.settings.site import SiteConfig
    from shared.job.schema import JobSpec

Digest = Annotated[
    str, typer.Argument(metavar="DIGEST", help="Digest of the job, or its first 20 or more digits.")
]
_SHOWN = 24  # digits of a digest, some more than a decision takes


def jobs(folder: Folder = HERE, json: Json = False) -> None:
    """List the jobs that have arrived, with what was decided about each."""
    from client.guard.job_book import JobBook
    from client.guard.waiting_jobs import in_words
    from client.settings.site import load_site
    from shared.cli.table import table_lines

    policy = load_site(folder / "site.toml").policy
    found = JobBook(folder / "state.sqlite").jobs()
    rows = [
        (
            job.digest[:_SHOWN],
            job.name,
            job.researcher or "-",
            in_words(job, policy),
            job.decided_by or "-",
            job.rounds,
            job.first_seen[:16].replace("T", " "),
        )
        for job in found
    ]
    titles = ("digest", "job", "researcher", "decision", "by", "rounds", "first seen (UTC)")
    said = table_lines(titles, rows) if rows else ["No job has arrived here yet."]
    answer(json, said, jobs=[_fields(job) for job in found])


def _fields(job: "SeenJob") -> dict[str, object]:
    """Return what `--json` says of a job; its content is for `approve` to show."""
    from shared.text.phrase import phrase

    keys = ("digest", "name", "researcher", "decision", "decided_by", "decided", "reason", "rounds")
    fields = {key: getattr(job, key) for key in (*keys, "first_seen")}
    return fields | {"phrase": phrase(job.digest)}


def approve(
    digest: Digest,
    folder: Folder = HERE,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Show what a job would do here, ask, and let it train. A changed job must be approved again.

    A job that was approved before may ask once more for all that it has asked for. With --json nothing is
    shown or asked: give --yes.
    """
    from client.guard.approval_text import ApprovalText
    from client.guard.contributors import patients_behind
    from client.guard.job_book import JobBook
    from client.guard.looks import looks_before
    from client.settings.site import load_site
    from shared.text.printable import printable

    book = JobBook(folder / "state.sqlite")
    job = book.find(digest)
    config = load_site(folder / "site.toml")
    behind = patients_behind(folder, config, job.spec())
    if not json:
        looks = looks_before(book.served, config, job.spec())
        answers, sums = book.served.answers(job.digest), book.sets.refused(job.digest)
        for line in ApprovalText.of(job, config, answers, behind, looks, sums=sums).lines():
            print(line)
        if why := _why_no_round(folder, config, job.spec()):
            print(f"NO ROUND OF IT WOULD BE TRAINED, whatever is decided here: {printable(why)}")
    confirm("Approve this job?", yes=yes, as_json=json)
    _decide(folder, job, "approved", as_json=json)


def _why_no_round(folder: Path, config: "SiteConfig", job: "JobSpec") -> str:
    from client.guard.budget import forecast, why_no_round
    from client.guard.cohort import Cohort
    from client.guard.ledger import Ledger
    from shared.errors import WardroundError

    if job.privacy.mechanism != "dp-sgd":
        return ""
    try:
        return why_no_round(forecast(Ledger.of(folder), Cohort.rehearsed(folder), config, job), job)
    except WardroundError as error:
        return why_no_round(error, job)


def deny(
    digest: Digest,
    folder: Folder = HERE,
    reason: Annotated[str, typer.Option(help="Why; it stays at this site, and names no patient.")] = "",
    json: Json = False,
) -> None:
    """Refuse a job for good, or take an approval back; what has left the site can't be called back."""
    from client.guard.job_book import JobBook

    job = JobBook(folder / "state.sqlite").find(digest)
    _decide(folder, job, "denied", reason, as_json=json)


def _decide(folder: Path, job: "SeenJob", decision: "Decision", reason: str = "", *, as_json: bool) -> None:
    from client.guard.decisions import decide
    from shared.text.phrase import phrase
    from shared.text.printable import printable

    user = decide(folder, job, decision, reason)
    said = f"{printable(job.name)}, digest {job.digest} ({phrase(job.digest)}): {decision}"
    answer(
        as_json,
        said,
        digest=job.digest,
        phrase=phrase(job.digest),
        name=job.name,
        decision=decision,
        decided_by=user,
    )
