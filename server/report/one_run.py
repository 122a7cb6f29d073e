"""The report of one run."""

import json
from collections.abc import Iterator
from pathlib import Path

from server.report import results, sections
from server.report.content import Picture, Report, Section
from server.report.described import description_section
from server.report.facts import RunFacts
from server.report.watched import watched_section
from shared.run_folder import REHEARSAL
from shared.web.tables import Estimate, Table

_SAMPLES = "samples.png"
_MOST_AUDITS = 50


def report_of(facts: RunFacts, *, images: bool = True) -> Report:
    """Return the report of a run, finished or not.

    Args:
        facts: What the run says.
        images: Whether a rehearsal's example images are shown.

    Raises:
        RunError: A file of it can't be read.
    """
    if facts.job.job.describes:
        return _report_of_description(facts)
    parts = [
        results.results_section(facts),
        watched_section(facts),
        _figures_section(facts),
        _examples_section(facts) if images else None,
        sections.learning_section(facts),
        sections.troubles_section(facts),
        sections.sites_section(facts),
        sections.asked_section(facts),
        sections.promises_section(facts, list(_audits(facts))),
        sections.cost_section(facts),
        sections.repeat_section(facts),
    ]
    kind = "A rehearsal with simulated hospitals" if facts.is_rehearsal else "A federated run"
    says = f"{kind}: {facts.job.task.subject}."
    shown = [part for part in parts if part is not None]
    return Report(facts.name, says, results.facts_first(facts), shown)


def _report_of_description(facts: RunFacts) -> Report:
    parts = [
        description_section(facts.job, facts.about),
        sections.troubles_section(facts),
        sections.sites_section(facts),
        sections.asked_section(facts),
        sections.repeat_section(facts),
    ]
    kind = "A rehearsal with simulated hospitals" if facts.is_rehearsal else "The data of a federation"
    return Report(facts.name, f"{kind}, described: {facts.job.task.subject}.", (), parts)


def _figures_section(facts: RunFacts) -> Section | None:
    if not facts.is_tested:  # as of a run that goes on: for its page PyTorch would be loaded for nothing
        return None
    from server.report.tested import figures_of  # noqa: PLC0415  (with PyTorch)

    figures = {figure.name: figure for figure in figures_of(facts)}
    if not figures:
        return None
    says = "Drawn from the sums of all hospitals."
    if facts.is_rehearsal:
        says += " What is of single patients, a rehearsal alone can show."
    return Section("figures", "A closer look at the test", (says,), figures=tuple(figures.values()))


def _examples_section(facts: RunFacts) -> Section | None:
    pictures = list(_pictures(facts))
    if not pictures:
        return None
    says = []
    if any(picture.name != "samples" for picture in pictures):
        says.append(
            "Of the data that was rehearsed with: show this page to those who may see them, or make it "
            "without (wardround report RUN --no-images). A real run has none: they stay where they are."
        )
    return Section("examples", "Examples", says, pictures=pictures)


def _pictures(facts: RunFacts) -> Iterator[Picture]:
    folder = facts.record.path / REHEARSAL
    index = folder / "examples.json"
    if index.exists():
        for entry in json.loads(index.read_text(encoding="utf-8")):
            file = folder / Path(entry["file"]).name
            yield Picture(file.stem, file.read_bytes(), entry["says"], entry["caption"])
    drawn = facts.record.path / _SAMPLES
    if drawn.exists():
        caption = "Drawn by the model: of nobody, unless it has learnt an image by heart."
        yield Picture("samples", drawn.read_bytes(), "Images that the model has drawn", caption)


def _audits(facts: RunFacts) -> Iterator[Table]:
    """Yield what attacks found whose files lie in the run's folder; one that can't be read is left out."""
    for file in sorted(facts.record.path.glob("audit*.json"))[:_MOST_AUDITS]:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            rows = [
                [name, Estimate(own["auc"], *own["auc_interval"]), own["tpr"], own["epsilon"]]
                for name, own in found["leaks"].items()
            ]
            title = (
                f"Who was trained on at {found['site']}? {found['members']} members, {found['others']} others"
            )
        except (ValueError, KeyError, TypeError):
            continue
        columns = ("attack", "AUC (0.5 is guessing)", "true positives", "shows epsilon of at least")
        yield Table(file.stem, title, columns, rows)
