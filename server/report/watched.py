"""A model that is judged from time to time: all of its tests so far, and whether it has become worse."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from server.report.content import Section, words
from server.report.facts import RunFacts
from server.report.tables import shown_metrics
from shared.errors import WardroundError
from shared.job_parts import networks_of
from shared.metrics.figures import Figure, Point
from shared.run_folder import ABOUT, JOB
from shared.text.plural import many
from shared.web.tables import Table, TableCell

MOST_METRICS = 3
"""Metrics that are watched: those that people look at first."""


def worse_than_first(run: Path) -> list[str]:
    """Return the metrics of a run that are beyond the interval of the first run beside it of the same model.

    Nothing of a run that trains, or that is the first which judges its model.

    Args:
        run: Folder of a finished run; others lie beside it.

    Raises:
        WardroundError: A run can't be read.
    """
    facts = RunFacts.read(run)
    return _worse(_tests(facts), facts) if facts.job.judges else []


def is_worse(first: RunFacts, now: RunFacts, metric: str) -> bool:
    """Say whether a metric is beyond the 95 % interval of the first test, on the bad side."""
    then, value = first.estimate(metric), now.estimate(metric).value
    if value is None or then.low is None or then.high is None:
        return False
    return value > then.high if first.is_lower_better(metric) else value < then.low


def watched_section(facts: RunFacts) -> Section | None:
    """Return what earlier runs of the same project said of the model; None where there is none.

    Figures are of all hospitals together, which everybody sees who sees the project's runs.
    """
    tests = _tests(facts) if facts.job.judges and facts.test else []
    if len(tests) < 2:
        return None
    metrics = _watched(facts)
    worse = _worse(tests, facts)
    says = f"The model was judged {many(len(tests), 'time')} here so far."
    warns = [f"It is worse than at the first test by {', '.join(map(words, worse))}."] if worse else []
    rows: list[list[TableCell]] = [
        [one.name, f"{started(one):%Y-%m-%d}", *(one.estimate(metric) for metric in metrics)] for one in tests
    ]
    note = "Worse: beyond the 95 % interval of the first test. With many tests one of twenty is so by chance."
    table = Table("watched", "Tests of this model", ("run", "day", *map(words, metrics)), rows, (note,))
    return Section("watched", "The model over time", (says,), warns, (table,), course(tests, metrics))


def course(tests: Sequence[RunFacts], metrics: Sequence[str]) -> list[Figure]:
    """Return the course of metrics over the days since the first test; nothing of one test."""
    if len(tests) < 2:
        return []
    start = started(tests[0])
    points: list[Point] = [
        (words(metric), round((started(one) - start).total_seconds() / 86400, 3), value)
        for metric in metrics
        for one in tests
        if (value := one.estimate(metric).value) is not None
    ]
    return [Figure("course", "Tests by day since the first", ("metric", "day", "value"), points)]


def started(facts: RunFacts) -> datetime:
    """Return when a run began."""
    return datetime.fromisoformat(str(facts.about["started"]))


def _watched(facts: RunFacts) -> list[str]:
    return shown_metrics(facts.job)[:MOST_METRICS]


def _worse(tests: Sequence[RunFacts], facts: RunFacts) -> list[str]:
    return [name for name in _watched(facts) if len(tests) > 1 and is_worse(tests[0], facts, name)]


def _tests(facts: RunFacts) -> list[RunFacts]:
    """Return the finished runs beside a run, up to it, that judged the same model for the same project."""
    alike = [one for one in _beside(facts) if started(one) < started(facts)]
    return [*sorted(alike, key=started), facts]


def _beside(facts: RunFacts) -> Iterator[RunFacts]:
    for path in facts.record.path.resolve().parent.glob(f"*/{ABOUT}"):
        if path.parent.name == facts.name or not _may_judge(path.parent):
            continue
        try:
            other = RunFacts.read(path.parent)
        except WardroundError:  # being removed, or of another version
            continue
        same = (_model(other), other.about.get("project")) == (_model(facts), facts.about.get("project"))
        if other.job.judges and same and other.status == "finished" and other.test:
            yield other


def _may_judge(folder: Path) -> bool:
    """Say whether a run has no rounds, before the whole job is read."""
    try:
        return bool(json.loads((folder / JOB).read_bytes())["job"]["rounds"] == 0)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _model(facts: RunFacts) -> list[Any]:
    return [network.options.start_sha256 for network in networks_of(facts.job)]
