"""`wardround client jobs, approve, deny`: what may be trained here is the hospital's decision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands_enrol import HERE, Folder

if TYPE_CHECKING:
    from client.job_book import Decision, SeenJob
    from client.site import SiteConfig
    from shared.job import JobSpec

Digest = Annotated[
    str, typer.Argument(metavar="DIGEST", help="Digest of the job, or its first six or more digits.")
]


def add_job_commands(app: typer.Typer) -> None:
    """Add this module's commands to `wardround client`."""
    for command in (jobs, approve, deny):
        app.command()(command)


def jobs(folder: Folder = HERE) -> None:
    """List the jobs that have arrived, with what was decided about each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from client.job_book import JobBook

    found = JobBook(folder / "state.sqlite").jobs()
    if not found:
        print("No job has arrived here yet.")
        return
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold" if console.is_terminal else "")
    for title in ("digest", "job", "researcher", "decision", "by", "rounds", "first seen (UTC)"):
        table.add_column(title)
    for job in found:
        seen = job.first_seen[:16].replace("T", " ")
        cells = (job.digest[:12], job.name, job.researcher or "-", job.decision, job.decided_by or "-")
        table.add_row(*map(Text, (*cells, str(job.rounds), seen)))
    console.print(table)


def approve(
    digest: Digest,
    folder: Folder = HERE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what a job would do here, ask, and let it train. A changed job must be approved again."""
    from client.job_book import JobBook
    from client.site import load_site

    job = JobBook(folder / "state.sqlite").find(digest)
    for line in in_plain_words(job, load_site(folder / "site.toml")):
        print(line)
    if not yes:
        typer.confirm("Approve this job?", abort=True)
    _decide(folder, job, "approved")


def deny(digest: Digest, folder: Folder = HERE) -> None:
    """Refuse a job for good, or take an approval back; what has left the site can't be called back."""
    from client.job_book import JobBook

    _decide(folder, JobBook(folder / "state.sqlite").find(digest), "denied")


def _decide(folder: Path, job: "SeenJob", decision: "Decision") -> None:
    """Write a decision into the audit log, then into the book: none counts that is not in the log."""
    import getpass
    import os

    from client.job_book import JobBook
    from shared.audit import AuditLog
    from shared.key_file import KeyFile

    user = os.environ.get("SUDO_USER") or getpass.getuser()
    log = AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))
    log.append(f"job-{decision}", job=job.digest, user=user)
    JobBook(folder / "state.sqlite").decide(job.digest, decision, user)
    print(f"{job.name} ({job.digest[:12]}): {decision}")


def _sent_part(job: "JobSpec") -> str:
    """Return what of the trained model a job makes a site send."""
    update = job.update
    if update.is_plain:
        return "the trained model"
    what = "what training has changed" + (f" in {', '.join(update.parts)}" if update.parts else "")
    if update.keep is not None:
        what += f", the largest {update.keep:.0%} of its numbers"
    what += f", in {update.bits} bits a number"
    return what + (f", scaled down to a norm of {update.clip:g}" if update.clip is not None else "")


def in_plain_words(seen: "SeenJob", site: "SiteConfig") -> list[str]:
    """Return what a job would do here and what would leave, a line a fact."""
    job, policy = seen.spec(), site.policy
    dataset = site.datasets.get(job.job.dataset)
    length = f"{job.training.local_epochs} passes over the data"
    if job.training.local_steps is not None:
        length = f"{job.training.local_steps} steps"
    model = f"{_sent_part(job)}, after each round"
    if job.privacy.secure_aggregation:
        model += ", masked: the coordinator gets its sum with the other sites' alone"
    leaves = [
        f"{model}; {_protection(job)}",
        "the number of patients and images in each split, where it is at least "
        f"{policy.min_group} patients (policy.min_group)",
    ]
    if job.training.class_weights == "federation":
        leaves.append("the number of training images (or voxels) of each class")
    if policy.share_site_metrics:
        leaves.append("the training loss, and sums from which the coordinator computes this site's metrics")
    leaves.append("errors, cleared of names, paths and values")
    facts = {
        "job": f"{job.job.name}, digest {seen.digest}",
        "researcher": f"{seen.researcher or 'not named'} (on the coordinator's word)",
        "task": f"{job.job.task} of {', '.join(job.data.classes)}",
        "network": job.model.name,
        "dataset": f"{job.job.dataset} ({dataset.manifest if dataset else 'not offered here'})",
        "rounds": f"{job.job.rounds}, each with {length}; {seen.rounds} served so far",
        "strategy": f"{job.strategy.name}, at least {job.strategy.min_sites} sites in each round",
    }
    lines = [f"{name:<11} {fact}" for name, fact in facts.items()]
    return [*lines, "What leaves this site:", *(f"  - {what}" for what in leaves), "No image leaves."]


def _protection(job: "JobSpec") -> str:
    """Return what a trained model says of the images, in words."""
    privacy = job.privacy
    if privacy.mechanism != "dp-sgd":
        return (
            "it is computed from the images, and without differential privacy something of them may be "
            "inferred from it"
            + ("; the coordinator alone adds noise, to the mean" if privacy.mechanism == "site-level" else "")
        )
    noise = f"noise multiplier {privacy.noise_multiplier}"
    if privacy.epsilon is not None:
        noise = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} over all rounds"
    if privacy.honest_sites is not None:
        noise += f" in the sum, if {privacy.honest_sites} of the sites in it are honest"
    return (
        f"it is differentially private for each {privacy.unit}: {noise} "
        "(`wardround client budget` says what is left)"
    )
