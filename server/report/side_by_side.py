"""Several runs side by side, and by how much they differ on the same test patients."""

from collections.abc import Iterator, Sequence
from typing import Any

from server.report import sections
from server.report.content import Report, Section, words
from server.report.differences import differences_section, shared_metrics
from server.report.facts import RunFacts
from server.report.seeds import Seeds, are_seeds, seeds_section
from server.report.tables import shown_metrics
from server.report.words import asked
from shared.metrics.figures import Figure, Point
from shared.metrics.spec import metric_names
from shared.web.tables import Table


def report_of_several(runs: Sequence[RunFacts]) -> Report:
    """Return runs side by side.

    Raises:
        RunError: A file of one can't be read, or they can't be compared.
    """
    names = _names(runs)
    parts = [
        _results(names, runs),
        *_how_they_differ(names, runs),
        _learning(names, runs),
        _asked(names, runs),
    ]
    facts = [
        (name, str(run.estimate(shown_metrics(run.job)[0]))) for name, run in zip(names, runs, strict=True)
    ]
    says = "What came out of each run, and by how much they differ on the test patients."
    return Report(f"{len(runs)} runs side by side", says, facts, parts)


def _names(runs: Sequence[RunFacts]) -> list[str]:
    """Return a name for each run; where a folder's name appears twice, with a number."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def _results(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    metrics = shared_metrics(runs)
    rows: list[list[Any]] = [[words(name), *(run.estimate(name) for run in runs)] for name in metrics]
    tables = [Table("results", "All hospitals together", ("metric", *names), rows)]
    sites = list(dict.fromkeys(site for run in runs for site in run.test.get("sites", {})))
    for metric in shown_metrics(runs[0].job)[:1]:
        if metric not in metrics:
            continue
        own: list[list[Any]] = [[site, *(run.site_estimate(site, metric) for run in runs)] for site in sites]
        title = f"Each hospital: {words(metric)}"
        tables.append(Table("results-by-site", title, ("site", *names), own))
    counts = [
        ["status", *(run.status for run in runs)],
        ["test patients", *(_text(run.test_patients()) for run in runs)],
        ["rounds", *(f"{len(run.rounds)} of {run.job.job.rounds}" for run in runs)],
        ["MB sent by the hospitals", *(_text(_megabytes(run)) for run in runs)],
    ]
    tables.append(Table("runs", "The runs", ("what", *names), counts))
    return Section("results", "What came out", warns=tuple(_unlike(names, runs)), tables=tables)


def _unlike(names: Sequence[str], runs: Sequence[RunFacts]) -> Iterator[str]:
    """Yield a warning where figures of one name mean different things."""
    for what, own in (
        ("tasks", [run.job.task.subject for run in runs]),
        ("datasets", [run.job.job.dataset for run in runs]),
    ):
        if len(set(own)) > 1:
            which = "; ".join(f"{name}: {one}" for name, one in zip(names, own, strict=True))
            yield f"the runs are of different {what}: figures of one name are not of the same thing ({which})"
            return
    trained = [
        (run.about.get("sites") or {}).keys() - (run.about.get("only_judging") or {}).keys() for run in runs
    ]
    every = set[str]().union(*trained)
    if lacking := [
        f"{name}: without {', '.join(sorted(every - own))}"
        for name, own in zip(names, trained, strict=True)
        if every - own
    ]:
        yield f"other hospitals trained in the runs, which no job says ({'; '.join(lacking)})"


def _how_they_differ(names: Sequence[str], runs: Sequence[RunFacts]) -> Iterator[Section]:
    """Yield what the seed does, where it alone differs; of others, and of any two, by what they differ."""
    if len({run.job.task.subject for run in runs}) > 1:
        yield Section(
            "differences", "Is it chance?", ("Nothing can be said: the runs are of different tasks.",)
        )
        return
    if are_seeds(runs):
        yield seeds_section(Seeds(runs))
    if len(runs) == 2 or not are_seeds(runs):
        yield differences_section(names, runs)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _megabytes(run: RunFacts) -> float | None:
    sent = run.about.get("bytes_sent")
    return None if not sent else round(sum(sent.values()) / 1e6, 3)


def _learning(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    metric = shown_metrics(runs[0].job)[0]
    points: list[Point] = []
    for name, run in zip(names, runs, strict=True):
        curve = sections.curve(run, metric) if metric in metric_names(run.job) else None
        points += [(name, p[1], p[2]) for p in (curve.points if curve else ()) if p[0] == "federation"]
    if not points:
        return Section("learning", "How they learnt", ("No round has been judged.",))
    title = f"{words(metric)[0].upper()}{words(metric)[1:]} on validation patients"
    figure = Figure("rounds", title, ("run", "round", words(metric)), points, says=f"{title}, by round.")
    return Section("learning", "How they learnt", figures=(figure,))


def _asked(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    choices = [{str(key): str(choice) for key, choice in asked(run.job).rows} for run in runs]
    keys = list(dict.fromkeys(key for own in choices for key in own))
    rows = [[key, *(own.get(key, "–") for own in choices)] for key in keys]
    differ = [row for row in rows if len(set(row[1:])) > 1]
    same = ", ".join(str(row[0]) for row in rows if len(set(row[1:])) == 1)
    says = [f"The same in all: {same}."] if same else []
    if not differ:
        return Section("asked", "How they differ", ("All asked for the same.",))
    return Section(
        "asked", "How they differ", says, tables=(Table("asked", "The jobs", ("what", *names), differ),)
    )
