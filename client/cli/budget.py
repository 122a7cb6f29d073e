"""`wardround client budget`: what private training has cost the patients here, and what it may still cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.folder import HERE, NewFolder, SubFolder, site_folder
from shared.cli.answer import Json, answer
from shared.cli.app import App

if TYPE_CHECKING:
    from client.guard.budget import Line
    from client.settings.policy import Cap

budget_app = App(
    help="Say what private training has cost here, and what is left.", invoke_without_command=True
)


@budget_app.callback()
def budget(context: typer.Context, folder: NewFolder = HERE, json: Json = False) -> None:
    """Say what each dataset has lost, to all jobs and to each, and what its cap leaves."""
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    site_folder(folder)
    from client.guard.budget import lines
    from client.guard.job_book import JobBook
    from client.guard.ledger import Ledger
    from client.settings.site import load_site
    from shared.cli.table import table_lines

    found = list(lines(Ledger.of(folder), load_site(folder / "site.toml").policy.privacy))
    names = {job.digest: job.name for job in JobBook(folder / "state.sqlite").jobs()}
    titles = ("dataset", "job", "counted by", "rounds", "epsilon", "if honest", "left", "cap")
    said = table_lines(titles, [_cells(line, names) for line in found])
    if not found:
        said = ["No dataset has a privacy cap, and nothing was spent."]
    if any(line.job is not None for line in found):
        said.append("Epsilons are composed, not added: the jobs' do not add up to the dataset's.")
    answer(json, said, budgets=[_fields(line, names) for line in found])


def _fields(line: "Line", names: dict[str, str]) -> dict[str, object]:
    """Return what `--json` says of a dataset (job null), or of a job's part in it."""
    cap = None if line.cap is None else line.cap.model_dump()
    keys = ("dataset", "job", "unit", "rounds", "honest_sites", "left", "delta")
    name = None if line.job is None else names.get(line.job)
    return {key: getattr(line, key) for key in keys} | {"epsilon": line.spent, "job_name": name, "cap": cap}


def _cells(line: "Line", names: dict[str, str]) -> tuple[str, ...]:
    job = "all" if line.job is None else f"{names.get(line.job, '?')} ({line.job[:12]})"
    left = "-" if line.left is None else f"{line.left:.2f}"
    cap = "" if line.job is not None else _spelt(line.cap, line.delta)
    honest = f"{line.honest_sites} sites" if line.honest_sites > 1 else "this site"
    return line.dataset, job, line.unit, str(line.rounds), f"{line.spent:.2f}", honest, left, cap


def _spelt(cap: "Cap | None", delta: float) -> str:
    if cap is None:
        return f"none (at delta {delta:g})"
    period = "for ever" if cap.days is None else f"in {cap.days} days"
    return f"{cap.epsilon:g} at delta {cap.delta:g}, {period}"


@budget_app.command()
def plan(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(help="Job file (TOML).", show_default=False)],
    folder: SubFolder = None,
    json: Json = False,
) -> None:
    """Say what a job would cost here, and how many of its rounds fit; nothing is recorded."""
    from client.guard.budget import forecast
    from client.guard.cohort import Cohort
    from client.guard.ledger import Ledger
    from client.settings.site import load_site
    from shared.job.schema import load_job

    folder, spec = site_folder(folder or context.obj), load_job(job)
    cohort = Cohort.rehearsed(folder)
    found = forecast(Ledger.of(folder), cohort, load_site(folder / "site.toml"), spec)
    steps, rounds, honest = found.steps, spec.job.rounds, spec.privacy.honest_sites
    fit = "all of them: there is no cap" if found.fit is None else f"{found.fit} of {rounds}"
    facts = {
        "job": f"{spec.job.name}, digest {spec.digest()[:12]}",
        "dataset": f"{spec.job.dataset}, about {found.units} {spec.privacy.unit}s to train on",
        "a round": f"{steps.steps} steps, sample rate {steps.sample_rate:.4g}, "
        f"noise multiplier {steps.noise_multiplier:.4g}",
        "the job": f"{rounds} rounds, epsilon {found.job_epsilon:.2f} at delta {spec.privacy.delta:g}"
        + (f", if {honest} sites in each sum are honest" if honest else ""),
        "cap": _spelt(found.cap, 1e-5),
        "spent": f"epsilon {found.spent:.2f}",
        "after": f"epsilon {found.after:.2f}",
        "rounds fit": fit,
    }
    answer(
        json,
        [f"{name:<10}  {fact}" for name, fact in facts.items()],
        digest=spec.digest(),
        dataset=spec.job.dataset,
        units=found.units,
        unit=spec.privacy.unit,
        rounds=rounds,
        rounds_that_fit=rounds if found.fit is None else found.fit,
        job_epsilon=found.job_epsilon,
        spent=found.spent,
        after=found.after,
        cap=None if found.cap is None else found.cap.model_dump(),
    )


@budget_app.command()
def repair(context: typer.Context, folder: SubFolder = None, json: Json = False) -> None:
    """Write the ledger anew from the audit log, which has every entry of it too."""
    from client.guard.budget import audited
    from client.guard.decisions import user_here
    from client.guard.ledger import Ledger
    from shared.audit.log import AuditLog
    from shared.pki.key_file import KeyFile

    folder = site_folder(folder or context.obj)
    entries = audited(folder)
    Ledger.of(folder).repair(entries)
    log = AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))
    log.append("ledger-repaired", sequence=len(entries), user=user_here())
    answer(json, f"The ledger has {len(entries)} entries, as the audit log has.", entries=len(entries))
