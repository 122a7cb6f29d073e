"""A model card: front matter and sections as Hugging Face has them, and Model Facts for clinicians.

Model Facts: Sendak et al., npj Digital Medicine 3:41 (2020). What a run can't know is said to be missing.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.files import AGAIN, write_atomic
from server.report import results, sections
from server.report.content import Section, words
from server.report.facts import RunFacts
from server.report.tables import shown_metrics
from server.report.words import privacy_of
from shared.text.markdown import in_markdown
from shared.text.printable import printable
from shared.web.tables import Estimate, Table, TableCell, number

_PIPELINES = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
    "generation": "unconditional-image-generation",
}
_MISSING = "*Not known to Wardround: to be written by whoever releases the model.*"


def write_card(folder: Path, out: Path) -> Path:
    """Write the card of a run's model as Markdown; returns the file.

    Raises:
        RunError: There is no such run.
    """
    write_atomic(out, card(RunFacts.read(folder)).encode(), AGAIN)
    return out


def card(facts: RunFacts) -> str:
    """Return the card of a run's model; whatever a job or a site has written is escaped."""
    lines = ["---", *_front_matter(facts), "---", "", f"# {in_markdown(facts.job.job.name)}", ""]
    lines += [f"{in_markdown(_what(facts))}", ""]
    lines += _model_facts(facts)
    parts = (
        results.results_section(facts),
        sections.troubles_section(facts),
        sections.sites_section(facts),
        sections.asked_section(facts),
        sections.promises_section(facts, []),
        sections.repeat_section(facts),
    )
    for part in parts:
        lines += _section(part)
    return "\n".join(lines).rstrip() + "\n"


def _what(facts: RunFacts) -> str:
    kind = "a rehearsal with simulated hospitals" if facts.is_rehearsal else "a federation of hospitals"
    return (
        f"A model for {facts.job.task.subject}, trained by Wardround in {kind}; no image left its hospital."
    )


def _front_matter(facts: RunFacts) -> Iterator[str]:
    """Yield YAML, of which JSON is a part: so no text of a job can end a string."""
    job = facts.job
    yield "library_name: wardround"
    if job.task.name in _PIPELINES:
        yield f"pipeline_tag: {_PIPELINES[job.task.name]}"
    yield f"tags: {json.dumps(['medical', 'federated-learning', 'wardround', job.task.name])}"
    yield f"metrics: {json.dumps(shown_metrics(job))}"
    values = {name: facts.estimate(name) for name in shown_metrics(job)} if facts.test else {}
    reached = [
        {
            "type": name,
            "value": one.value,
            "name": f"{name} (95 %: {one.low} to {one.high})" if one.low else name,
        }
        for name, one in values.items()
        if one.value is not None
    ]
    if reached:
        entry = {
            "name": job.job.name,
            "results": [
                {
                    "task": {"type": _PIPELINES.get(job.task.name, job.task.name)},
                    "dataset": {"type": job.job.dataset, "name": job.job.dataset, "split": "test"},
                    "metrics": reached,
                }
            ],
        }
        yield f"model-index: {json.dumps([entry], allow_nan=False)}"


def _model_facts(facts: RunFacts) -> Iterator[str]:
    job = facts.job
    metric = shown_metrics(job)[0]
    found: Estimate = facts.estimate(metric) if facts.test else Estimate(None)
    patients = number(facts.test_patients()) if facts.test else "–"
    sites = ", ".join(facts.sites) or "–"
    rows: Mapping[str, str] = {
        "What it answers": job.task.subject,
        "What it sees": f"{job.job.dataset}: one sample at a time, prepared as the job says",
        "Trained at": f"{len(facts.sites)} hospitals ({sites})",
        "Trained when": f"{facts.about.get('started', '–')} to {facts.about.get('finished') or '–'}",
        "How well": f"{words(metric)} {found} on {patients} test patients of the same hospitals",
        "Where else it was tested": "nowhere: figures are of the hospitals that trained it",
        "Privacy of the patients": privacy_of(job),
    }
    yield "## Model Facts"
    yield ""
    yield "For clinicians. **It is not a medical device, and nobody has approved it.**"
    yield ""
    yield "| what | fact |"
    yield "| --- | --- |"
    yield from (f"| {name} | {in_markdown(value)} |" for name, value in rows.items())
    yield ""
    for title in (
        "Who should use it, and for whom",
        "Who should not",
        "When to stop using it",
        "Whom to ask",
    ):
        yield f"**{title}.** {_MISSING}"
        yield ""
    warns = [*results.results_section(facts).warns, *sections.troubles_section(facts).warns]
    if warns:
        yield "**Warnings.**"
        yield ""
        yield from (f"- {in_markdown(text)}" for text in warns)
        yield ""


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    for text in section.says:
        yield in_markdown(text)
        yield ""
    yield from (f"- {in_markdown(text)}" for text in section.warns)
    if section.warns:
        yield ""
    for line in section.commands:
        yield f"    {printable(line)}"
        yield ""
    for table in section.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"**{in_markdown(table.title)}**"
    yield ""
    yield f"| {' | '.join(map(in_markdown, table.columns))} |"
    yield f"|{' --- |' * len(table.columns)}"
    yield from (f"| {' | '.join(in_markdown(_cell(cell)) for cell in row)} |" for row in table.rows)
    yield ""
    for note in table.notes:
        yield in_markdown(note)
        yield ""


def _cell(cell: TableCell) -> Any:
    return number(cell) if cell is None or isinstance(cell, float) else cell
