"""What a person at the hospital needs to see of a job before they decide."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.guard.approval_text import ApprovalText
from client.guard.budget import Forecast, forecast, why_no_round
from client.guard.cohort import Cohort
from client.guard.contributors import patients_behind
from client.guard.decisions import decide
from client.guard.job_book import Decision, JobBook, SeenJob
from client.guard.ledger import Ledger
from client.guard.looks import looks_before
from client.settings.site import SiteConfig, load_site
from client.settings.states import check_moment
from shared.errors import SiteError, WardroundError
from shared.job.schema import JobSpec
from shared.text.phrase import phrase
from shared.text.plural import many
from shared.web.tables import Table

BOOK = "state.sqlite"


class ChangedError(SiteError):
    """A decision about something else than what stands there now."""


@dataclass(frozen=True)
class JobView:
    """A job, as whoever decides reads it.

    Attributes:
        phrase: Of its digest, to be compared with the researcher's.
        dataset: Of which patients.
        rounds: How many it asks for.
        in_short: What is asked, in a few sentences.
        text: What it would do and what would leave.
        refusal: Why the policy refuses it, whatever a person decides; empty where it does not.
        cost: Of which budget; None where it asks for no differential privacy, or where nobody can say.
        no_cost: Why there is no cost.
        no_round: Why no round of it would be trained, though the policy admits it; empty where some would.
        seen: SHA-256 of what is shown: an approval is for this alone.
    """

    job: SeenJob
    phrase: str
    dataset: str
    rounds: int
    in_short: str
    text: ApprovalText
    refusal: str
    cost: Forecast | None
    no_cost: str
    no_round: str
    seen: str

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What the page does not say elsewhere."""
        return [(name, fact) for name, fact in self.text.facts.items() if name != "phrase"]


def all_jobs(folder: Path) -> list[SeenJob]:
    """Return the jobs that have arrived, newest first; nothing is written."""
    book = folder / BOOK
    return JobBook(book).jobs() if book.exists() else []


def table_of_jobs(jobs: Sequence[SeenJob]) -> Table:
    """Return jobs as a table, with what was decided about each."""
    rows = [
        (job.name, job.digest, job.decision, job.decided_by, job.reason, job.researcher, job.first_seen)
        for job in jobs
    ]
    columns = ("job", "digest", "decision", "by", "reason", "researcher", "first seen")
    return Table("jobs", "Jobs", columns, rows)


def job_view(folder: Path, digest: str) -> JobView:
    """Return a job of a site's folder.

    Raises:
        WardroundError: There is no such job, or a file can't be used.
    """
    book, config = JobBook(folder / BOOK), load_site(folder / "site.toml")
    job = book.find(digest)
    spec = job.spec()
    behind = patients_behind(folder, config, spec)
    looks = looks_before(book.served, config, spec)
    answers, sums = book.served.answers(job.digest), book.sets.refused(job.digest)
    text = ApprovalText.of(job, config, answers, behind, looks, sums=sums)
    refusal = _refusal(config, job, spec)
    cost, no_cost, no_round = _cost(folder, config, spec)
    seen = _seen(job, text, refusal, *_cost_in_words(cost), no_cost)
    return JobView(
        job,
        phrase(job.digest),
        spec.job.dataset,
        spec.job.rounds,
        _in_short(job, spec),
        text,
        refusal,
        cost,
        no_cost,
        "" if refusal else no_round,
        seen,
    )


def decide_seen(folder: Path, digest: str, decision: Decision, seen: str, reason: str) -> SeenJob:
    """Let a person's decision count, an approval only for what the person has seen.

    Args:
        folder: The site's.
        digest: Of the job, all of it.
        decision: About it.
        seen: `JobView.seen` of the page on which the person decided.
        reason: In the person's words; may be empty.

    Raises:
        ChangedError: The job, its text, the policy or an earlier decision is another one by now.
        WardroundError: There is no such job, or the decision can't be written.
    """
    job = JobBook(folder / BOOK).find(digest)
    if decision == "approved" and job_view(folder, digest).seen != seen:
        raise ChangedError(
            "what this page said of the job has changed since: nothing was decided",
            where=job.name,
            remedy="Read it again, then decide.",
        )
    decide(folder, job, decision, reason)
    return job


def _in_short(job: SeenJob, spec: JobSpec) -> str:
    who, privacy = job.researcher or "A researcher", spec.privacy
    asks = f"{who} asks to train a model on '{spec.job.dataset}': {spec.task.subject}."
    if not spec.trains:
        does = "judge a model on" if spec.judges else "describe the data of"
        asks = f"{who} asks to {does} '{spec.job.dataset}': {spec.task.subject}."
    sees = "the coordinator sees it"
    if privacy.secure_aggregation:
        sees = "the coordinator sees its sum with the other hospitals' alone"
    leaves = f"The trained model leaves after each of {many(spec.job.rounds, 'round')}, and {sees}."
    if not spec.trains:
        return f"{asks} Nothing is trained, and no model leaves. No image leaves."
    guarantee = "It is not differentially private: something of the images may be inferred from it."
    if privacy.mechanism == "dp-sgd":
        guarantee = f"Differential privacy bounds what it can tell of any {privacy.unit}."
    return f"{asks} {leaves} {guarantee} No image leaves."


def _cost_in_words(cost: Forecast | None) -> list[str]:
    """Return the figures of a cost as the page shows them."""
    if cost is None:
        return []
    cap = "no budget" if cost.cap is None else repr(cost.cap)
    return [*(f"{epsilon:.2f}" for epsilon in (cost.job_epsilon, cost.spent, cost.after)), cap, str(cost.fit)]


def _seen(job: SeenJob, text: ApprovalText, refusal: str, *cost: str) -> str:
    what = [job.digest, job.decision, job.decided, asdict(text), refusal, cost]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _refusal(config: SiteConfig, job: SeenJob, spec: JobSpec) -> str:
    always = config.policy.model_copy(update={"hours": None})
    try:
        config.dataset(spec.job.dataset)
        config.admit(spec)
        check_moment(always, job.researcher, datetime.now(UTC).astimezone(), config.name)
    except SiteError as error:
        return error.problem
    return ""


def _cost(folder: Path, config: SiteConfig, spec: JobSpec) -> tuple[Forecast | None, str, str]:
    """Return what a job would cost, or why nobody can say; and why no round would be trained."""
    if spec.privacy.mechanism != "dp-sgd":
        no_cost = "It asks for no differential privacy, so it is in no budget: the ledger does not count it."
        return None, no_cost, ""
    try:
        found = forecast(Ledger.of(folder), Cohort.rehearsed(folder), config, spec)
    except WardroundError as error:
        return None, f"Nobody can say what it would cost: {error.problem}.", why_no_round(error, spec)
    return found, "", why_no_round(found, spec)
