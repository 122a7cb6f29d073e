"""What a tuning has found, as people look at it."""

import json
from collections.abc import Iterator, Mapping

from server.report.content import Report, Section, words
from shared.metrics.figures import Figure, Point
from shared.text.plural import many
from shared.web.tables import Table, number
from simulate.tuning.search import Search, Tried
from simulate.tuning.space import Value

_HOW = (
    "Scores are of the best round on the validation patients. No trial has seen the test patients; many "
    "trials fit the validation patients a little, so only a test says how good the best one is."
)


def report_of(search: Search) -> Report:
    """Return the report of a tuning."""
    tried, best = search.tried(), search.best()
    says = f"{many(len(tried), 'trial')} of {search.space.tune.trials}, by {words(search.metric)}."
    facts = []
    if best is not None:
        facts = [(words(search.metric), number(best.score)), ("best trial", str(best.number))]
    sections = [
        Section("trials", "What was tried", (_HOW,), tables=(trials_table(search),), figures=_course(search)),
        _mattered(search, tried),
    ]
    return Report(f"{search.job.job.name}: tuning", says, facts, sections)


def trials_table(search: Search) -> Table:
    """Return all trials, the best first; those without a score at the end."""
    keys = list(search.space.vary)
    sign = 1 if search.lower_is_better else -1
    order = {"done": 0, "ended early": 1, "failed": 2}
    ranked = sorted(search.tried(), key=lambda one: (order[one.state], sign * (one.score or 0.0), one.number))
    rows = [
        [
            str(one.number),
            number(one.score),
            *(_spelt(one.values.get(key)) for key in keys),
            one.state,
            one.run,
        ]
        for one in ranked
    ]
    columns = ("trial", words(search.metric), *keys, "state", "run")
    notes = [f"Trial {one.number} failed: {one.reason}" for one in ranked if one.state == "failed"]
    return Table("trials", "Trials, the best first", columns, rows, notes)


def _spelt(value: Value | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _course(search: Search) -> list[Figure]:
    points: list[Point] = []
    best: float | None = None
    for one in search.tried():
        if one.state == "done" and one.score is not None:
            is_better = best is None or (one.score < best) == search.lower_is_better
            best = one.score if is_better else best
        if best is not None:
            points.append(("best so far", one.number, best))
    if len(points) < 2:
        return []
    title = f"The best {words(search.metric)} by trial"
    return [Figure("course", title, ("series", "trial", words(search.metric)), points, "steps")]


def _mattered(search: Search, tried: list[Tried]) -> Section:
    found = search.importance()
    if not found:
        return Section("mattered", "What mattered", ("Too few trials came to their end to say.",))
    says = (
        "How far each key tells the good trials from the others (PED-ANOVA), of all of them together 1. "
        "Of few trials it is a hint."
    )
    points: list[Point] = [(key, "", share) for key, share in _by_share(found)]
    figure = Figure("importance", "What mattered", ("key", "", "importance"), points, "dots")
    table = Table(
        "importance", "Importance", ("key", "importance"), [[key, own] for key, own in _by_share(found)]
    )
    return Section(
        "mattered", "What mattered", (says,), tables=(table,), figures=(figure, *_along(search, tried))
    )


def _by_share(found: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))


def _along(search: Search, tried: list[Tried]) -> Iterator[Figure]:
    """Yield the scores along each key of numbers."""
    for key in search.space.vary:
        points: list[Point] = sorted(
            (search.metric, float(value), one.score)
            for one in tried
            if isinstance(value := one.values.get(key), int | float)
            and not isinstance(value, bool)
            and one.state == "done"
            and one.score is not None
        )
        if len(points) > 2:
            name, title = key.replace(".", "-").replace("_", "-"), f"{words(search.metric)} by {key}"
            yield Figure(f"along-{name}", title, ("series", key, words(search.metric)), points)
