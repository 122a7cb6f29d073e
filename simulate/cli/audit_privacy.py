"""`wardround audit-privacy`: what a model gives away, at a real site or at one of a simulation."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.cli.answer import Json, answer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from client.data.kinds.row_images import ImageFilter
    from client.guard.cohort import Cohort
    from client.membership.audit import Audit
    from client.membership.copies import Copies
    from client.settings.site import SiteConfig


def audit_privacy(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of a run, with model.safetensors.", show_default=False),
    ],
    site: Annotated[
        Path | None, typer.Option(help="The hospital's own site.toml.", show_default=False)
    ] = None,
    site_name: Annotated[
        str | None, typer.Option(help="Of a simulated run: which of its sites.", show_default=False)
    ] = None,
    shadows: Annotated[
        int,
        typer.Option(min=4, help="Shadow models to train, an even number; each takes as long as the run."),
    ] = 16,
    json: Json = False,
) -> None:
    """Attack a run's model with the site's own patients: does it tell who was trained on? Nothing leaves."""
    from rich.console import Console

    from client.guard.release import Release
    from client.guard.site_cohort import SiteCohort
    from client.membership.audit import audit_model
    from client.membership.copies import find_copies
    from client.membership.population import Population
    from client.training.class_counts import statistics_for_loss
    from client.training.device import open_device
    from shared.errors import RunError
    from shared.finished_run import FinishedRun
    from shared.start_files import starts_of

    if (site is None) == (site_name is None):
        raise RunError("give --site SITE.toml, or --site-name NAME for a simulated run", where=run)
    finished = FinishedRun.read(run)
    config, cohort, scanner, device = _site(run, site, site_name)
    data = SiteCohort(config, cohort).load(finished.job, scanner)
    told = Release.of(config.policy, finished.job).count(data.patients["train"])
    finished.check_site(config.name, told)
    model = finished.model(open_device(device, config.device.memory_gib))
    console = Console(stderr=True)
    population = Population.of(data, finished.job)
    copies = find_copies(model, finished.job, population)
    audit = audit_model(
        model,
        finished.job,
        population,
        rounds=finished.rounds,
        shadows=shadows,
        files=starts_of(finished.job, run),
        statistics={**finished.statistics, **statistics_for_loss(finished.job, data, {})},
        track=lambda halves, count: _tracked(halves, count, console),
    )
    figures = {"run": run.resolve().name, "job": finished.job.digest(), "site": config.name}
    if json:
        answer(json, **figures, **audit.as_json(), copies=None if copies is None else asdict(copies))
    else:
        title = f"{figures['run']}: who was trained on at {config.name}?"
        _show(audit, title, finished.job.privacy.model_dump(), _copied(copies))


def _site(
    run: Path, file: Path | None, name: str | None
) -> "tuple[SiteConfig, Cohort | None, ImageFilter | None, str]":
    """Return a hospital's configuration and cohort, a simulated one's scanner, and the device."""
    from client.guard.cohort import Cohort
    from client.settings.site import load_site
    from shared.errors import RunError
    from shared.text.names import suggestion
    from simulate.data.scanner import Scanner
    from simulate.session.hospitals import Setup

    if file is not None:
        config = load_site(file)
        device = "cpu" if config.device.gpu is None else f"cuda:{config.device.gpu}"
        return config, Cohort.rehearsed(file.resolve().parent), None, device
    setup = Setup.read(run / "simulation.json")
    sites = {site.name: site for site in setup.sites}
    if name not in sites:
        raise RunError(f"has no site '{name}'; {suggestion(str(name), sites)}", where=run)
    scanner = None if setup.scanner_seed is None else Scanner.draw(name, setup.scanner_seed)
    return sites[name], setup.cohorts().get(name), scanner, setup.device


def _tracked(items: Iterable[Any], count: int, console: "Console") -> Iterable[Any]:
    """Show a bar on a terminal, else a line for each shadow model."""
    from rich.progress import track

    if console.is_terminal:
        yield from track(items, "Shadow models", total=count, console=console, transient=True)
        return
    for number, item in enumerate(items, start=1):
        console.print(f"shadow model {number} of {count}")
        yield item


def _copied(copies: "Copies | None") -> list[str]:
    """Say how near drawn images are to those that were trained on."""
    if copies is None:
        return []
    low, high = copies.ratio_interval
    return [
        f"Drawn images lie {copies.ratio:.2f} ({low:.2f} to {high:.2f}) times as far from the nearest image "
        f"that was trained on as from the nearest that was held out ({copies.drawn} drawn, "
        f"{copies.patients} patients of either). Near 1 none is copied; mirrored or moved copies do not show."
    ]


def _show(audit: "Audit", title: str, privacy: dict[str, Any], further: list[str]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(_table(audit, title))
    smallest = 100 / audit.others
    above = 100 * next(iter(audit.leaks.values())).fpr_above
    lines = [
        f"{audit.members} patients were trained on, {audit.others} held out; {audit.shadows} shadow models.",
        "AUC 0.5 is guessing. Intervals are 95 %.",
    ]
    if smallest > 0.1:
        lines.append(
            f"{audit.others} held-out patients show no false-positive rate between 0 and {smallest:.2g} %: "
            f"true positives are those above all of them, where false positives may be up to {above:.2g} %."
        )
    if privacy["mechanism"] == "dp-sgd":
        promised = privacy["epsilon"] or f"that of noise multiplier {privacy['noise_multiplier']}"
        lines.append(
            f"The job promises epsilon {promised} at delta {privacy['delta']:g} a {privacy['unit']}."
        )
    lines += further
    lines.append("An attack that fails proves nothing: a better one may not.")
    for line in lines:
        console.print(line, highlight=False)


def _table(audit: "Audit", title: str) -> "Table":
    from rich.table import Table

    table = Table(title=title)
    for heading in ("attack", "AUC", "true positives at 0.1 % false", "shows epsilon of at least"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for name, leak in audit.leaks.items():
        auc, tpr = leak.auc_interval, leak.tpr_interval
        table.add_row(
            name,
            f"{leak.auc:.3f} ({auc[0]:.3f} to {auc[1]:.3f})",
            f"{100 * leak.tpr:.1f} % ({100 * tpr[0]:.1f} to {100 * tpr[1]:.1f})",
            f"{leak.epsilon:.2f}",
        )
    return table
