"""What came out of a run: of all hospitals, of each, beside what it is compared with."""

from collections.abc import Mapping
from typing import Any

from server.report.between_sites import between_sites_table
from server.report.comparison import sentences
from server.report.content import Section, words
from server.report.decisions import decision_tables, decision_warnings
from server.report.facts import RunFacts, finite
from server.report.groups import group_tables, group_warnings
from server.report.tables import NO_TEST, shown_metrics, why_no_metrics
from server.report.words import tested_model
from shared.metrics.figures import Figure, Point
from shared.metrics.spec import metric_names
from shared.tasks.fields import image_columns_of
from shared.web.tables import Estimate, Table, number


def results_section(facts: RunFacts) -> Section:
    """Return what came out, with intervals."""
    if not facts.test:
        alone = "" if facts.job.evaluation.test else ": the job leaves the test patients alone (test = false)"
        return Section("results", "What came out", (f"The run has not been tested{alone}.",))
    if all(finite(value) is None for value in (facts.test.get("federation") or {}).values()):
        return Section("results", "What came out", _withheld(facts))
    patients = facts.test_patients()
    rehearsed = facts.comparison.get("how") == "bootstrap"
    behind = (
        "an unknown number of" if patients is None else str(patients) if rehearsed else f"about {patients}"
    )
    tables = [_federation_table(facts)]
    if _scored_sites(facts):
        tables.append(_site_table(facts))
        if (between := between_sites_table(facts, shown_metrics(facts.job))) is not None:
            tables.append(between)
    tables += decision_tables(facts) + group_tables(facts, shown_metrics(facts.job))
    tables += _baseline_tables(facts)
    how = {
        "bootstrap": "Intervals are 95 %, by a bootstrap over the test patients.",
        "counts": "Intervals are 95 %, from counts of the test patients as the hospitals round them.",
    }.get(
        facts.comparison.get("how", ""),
        "Intervals are 95 %." if facts.comparison.get("metrics") else "No interval is known.",
    )
    says = (
        f"T{tested_model(facts.about)[1:]} on {behind} "
        f"test {'patient' if patients == 1 else 'patients'}. {how}",
    )
    warns = (*sentences(facts.comparison), *decision_warnings(facts), *group_warnings(facts))
    return Section("results", "What came out", says, warns, tables, _cross_site(facts))


def _withheld(facts: RunFacts) -> tuple[str, ...]:
    about, why = facts.about, why_no_metrics(facts.about)
    if why == NO_TEST:
        return (why,)
    return f"T{tested_model(about)[1:]} was tested, and how good it is, nobody here knows.", why


def _federation_table(facts: RunFacts) -> Table:
    metrics = facts.comparison.get("metrics") or {}
    rivals = [
        name for name in ("constant", "site") if any(one.get(name) is not None for one in metrics.values())
    ]
    headings = {"constant": "one answer for all", "site": "hospital's name alone"}
    columns = ["metric", "the model", *(headings[name] for name in rivals)]
    rows: list[list[Any]] = []
    for name in _ordered(facts):
        one = metrics.get(name) or {}
        rows.append([words(name), facts.estimate(name), *(one.get(rival) for rival in rivals)])
    see = "The last column sees" if len(rivals) == 1 else "The last two columns see"
    notes = [f"{see} no image: what a figure is worth shows beside such an answer."] if rivals else []
    return Table("results", "All hospitals together", columns, rows, notes)


def _ordered(facts: RunFacts) -> list[str]:
    first = shown_metrics(facts.job)
    return list(dict.fromkeys([*first, *metric_names(facts.job)]))


def _scored_sites(facts: RunFacts) -> list[str]:
    return [name for name, scores in (facts.test.get("sites") or {}).items() if scores]


def _site_table(facts: RunFacts) -> Table:
    metrics = shown_metrics(facts.job)
    examples = facts.test.get("examples") or {}
    images = "test images" if image_columns_of(facts.job) else "test rows"
    columns = ("site", "test patients", images, *(words(name) for name in metrics))
    rows: list[list[Any]] = [
        [
            name,
            facts.test_patients(name),
            examples.get(name),
            *(facts.site_estimate(name, one) for one in metrics),
        ]
        for name in _scored_sites(facts)
    ]
    rows.append(
        [
            "federation",
            facts.test_patients(),
            sum(examples.values()),
            *(facts.estimate(one) for one in metrics),
        ]
    )
    what = images.removeprefix("test ").capitalize()
    notes = [
        f"{what} are rounded by the hospitals, so that there may seem to be fewer than patients.",
        "A dash: the test has no such figure, as with one class only.",
    ]
    return Table("results-by-site", "Each hospital", columns, rows, notes, strong=1)


def _baseline_tables(facts: RunFacts) -> list[Table]:
    baselines = facts.about.get("baselines")
    if not baselines:
        return []
    metric = shown_metrics(facts.job)[0]
    alone, pooled = baselines["alone"], baselines["pooled"]
    rows: list[list[Any]] = [
        [
            name,
            facts.site_estimate(name, metric).value,
            alone[name]["sites"][name].get(metric) if name in alone else None,
            pooled["sites"][name].get(metric),
        ]
        for name in _scored_sites(facts)
    ]
    known = [value for one in alone.values() if (value := one["federation"].get(metric)) is not None]
    mean = sum(known) / len(known) if known and len(known) == len(alone) else None
    federated = (facts.test.get("federation") or {}).get(metric)
    rows.append(["all sites", federated, mean, pooled["federation"].get(metric)])
    title = f"What federating brings: {words(metric)}"
    note = "Alone: a model of the hospital's own data; in the last row their mean, each on all test patients."
    return [Table("baselines", title, ("site", "federated", "alone", "pooled"), rows, (note,), strong=1)]


def _cross_site(facts: RunFacts) -> list[Figure]:
    baselines = facts.about.get("baselines")
    if not baselines:
        return []
    metric = shown_metrics(facts.job)[0]
    models: dict[str, Mapping[str, Any]] = {
        f"{name} alone": one["sites"] for name, one in baselines["alone"].items()
    }
    models |= {"federated": facts.test["sites"], "pooled": baselines["pooled"]["sites"]}
    points: list[Point] = [
        (model, site, value)
        for model, scores in models.items()
        for site in facts.test["sites"]
        if (value := (scores.get(site) or {}).get(metric)) is not None
    ]
    title = f"Each model at each hospital: {words(metric)}"
    says = "Rows are models, columns the hospitals whose test patients judge them."
    return [Figure("cross-site", title, ("model", "tested at", words(metric)), points, "matrix", says)]


def facts_first(facts: RunFacts) -> list[tuple[str, str]]:
    """Return what people look for first."""
    metric = shown_metrics(facts.job)[0]
    found: Estimate = facts.estimate(metric)
    patients = facts.test_patients() if facts.test else None
    judged = [(words(metric), str(found)), ("test patients", number(patients))] if facts.test else []
    return [
        *judged,
        ("hospitals", str(len(facts.sites))),
        ("rounds", f"{len(facts.rounds)} of {facts.job.job.rounds}"),
        ("status", facts.status),
    ]
