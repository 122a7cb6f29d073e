"""A released model over time: what later jobs that judge it say, beside the test of its release."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.report.content import Report, Section, words
from server.report.described import Described
from server.report.facts import RunFacts
from server.report.site_differences import differences
from server.report.tables import shown_metrics
from server.report.watched import MOST_METRICS, course, is_worse, started
from shared.errors import RunError
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec
from shared.job_parts import networks_of
from shared.judging_job import judging_job
from shared.text.plural import many
from shared.web.tables import Table, TableCell, number

_CERTAIN = 0.05


@dataclass(frozen=True)
class Drift:
    """What became of a model.

    Attributes:
        report: For people.
        worse: By run, the metrics that are worse than the interval of the first test.
        changed: By run that describes, the figures of the data that have changed by more than chance.
    """

    report: Report
    worse: dict[str, list[str]]
    changed: dict[str, list[str]]


def drift_of(folders: Sequence[Path]) -> Drift:
    """Return what runs say of one model, and of the data, in the order of their time.

    Args:
        folders: First the run that the model was released with; then runs that judge it, and runs that
            describe the data.

    Raises:
        RunError: One has not finished, or judges another model.
    """
    first, *later = [RunFacts.read(folder) for folder in folders]
    for facts in (first, *later):
        if facts.status != "finished":
            raise RunError(f"is {facts.status}, and says nothing yet", where=facts.record.path)
    if not first.test:
        raise RunError("has no test: name first the run that the model was released with", where=first.name)
    later.sort(key=started)
    judging = [first, *(facts for facts in later if not facts.job.job.describes)]
    _require_one_model(first, judging[1:])
    described = [facts for facts in (first, *later) if facts.about.get("described")]
    metrics = shown_metrics(first.job)[:MOST_METRICS]
    worse = {
        facts.name: [metric for metric in metrics if is_worse(first, facts, metric)] for facts in judging[1:]
    }
    tables = list(_data_tables(described))
    changed = {name: [str(row[0]) for row in table.rows] for name, table in tables}
    section = Section(
        "drift",
        "The model over time",
        (_in_words(worse),),
        tables=(_scores_table(judging, metrics, worse), *(table for _, table in tables)),
        figures=course(judging, metrics),
    )
    says = f"Judged {many(len(judging) - 1, 'time')} since its test."
    return Drift(Report(f"{first.name}: over time", says, (), [section]), worse, changed)


def _require_one_model(first: RunFacts, later: Sequence[RunFacts]) -> None:
    if not later:
        return
    known = [_judged(first.job)]
    if first.job.trains:
        run = FinishedRun.read(first.record.path)
        name = first.job.job.name
        known = [_judged(judging_job(run, name, which).job) for which in ("best", "last")]
    for facts in later:
        if facts.job.trains or _judged(facts.job) not in known:
            raise RunError(f"does not judge the model of {first.name}", where=facts.name)


def _judged(job: JobSpec) -> list[Any]:
    return [network.options.start_sha256 for network in networks_of(job)]


def _in_words(worse: dict[str, list[str]]) -> str:
    left = {name: found for name, found in worse.items() if found}
    if not left:
        return "No later test is worse than the interval of the first one."
    name, found = next(reversed(left.items()))
    return f"{name} is worse than the interval of the first test: {', '.join(map(words, found))}."


def _scores_table(judging: Sequence[RunFacts], metrics: Sequence[str], worse: dict[str, list[str]]) -> Table:
    rows: list[list[TableCell]] = []
    for facts in judging:
        left = worse.get(facts.name)
        state = "first test" if left is None else ", ".join(map(words, left)) or "–"
        scores: list[TableCell] = [facts.estimate(metric) for metric in metrics]
        rows.append(
            [
                facts.name,
                f"{started(facts):%Y-%m-%d}",
                facts.test_patients(),
                *scores,
                _worst(facts, metrics[0]),
                state,
            ]
        )
    columns = ("run", "day", "test patients", *map(words, metrics), "worst hospital", "worse than at first")
    notes = ("Worse: beyond the 95 % interval of the first test. A dash where no figure says so.",)
    return Table("scores", "Tests of the model", columns, rows, notes)


def _worst(facts: RunFacts, metric: str) -> str:
    scores = {
        site: value
        for site in facts.test.get("sites") or {}
        if (value := facts.site_estimate(site, metric).value) is not None
    }
    if not scores:
        return "–"
    site = (max if facts.is_lower_better(metric) else min)(scores, key=lambda name: scores[name])
    return f"{site} {number(float(scores[site]))}"


def _data_tables(described: Sequence[RunFacts]) -> Iterator[tuple[str, Table]]:
    """Yield how the data of later runs differ from those of the first that describes them."""
    for facts in described[1:]:
        then, now = (Described(one.job, one.about) for one in (described[0], facts))
        if then.specs != now.specs:
            raise RunError(f"describes other figures than {described[0].name}", where=facts.name)
        patients = {"then": _patients(then), "now": _patients(now)}
        found = differences(
            now.specs, {"then": then.total, "now": now.total}, patients, max(then.least, now.least)
        )
        rows: list[list[TableCell]] = [
            [one.what, f"{one.effect:.2f} {one.measure}", one.p]
            for one in found
            if one.p is not None and one.p < _CERTAIN
        ]
        title = f"What of the data has changed by {facts.name} since {described[0].name}"
        yield facts.name, Table(f"changed-{len(rows)}", title, ("figure", "by", "p (Holm)"), rows)


def _patients(described: Described) -> int:
    return sum(described.patients(site) or 0 for site in described.summed)
