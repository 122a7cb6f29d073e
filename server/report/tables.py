"""The table at the end of a run: one row per site, and the federation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.report.columns import Column, fitting, print_table, print_whole, table_of
from server.report.comparison import sentences
from server.report.content import words
from server.report.decisions import decision_tables, decision_warnings
from server.report.described import Described, in_words, landmarks_of, tables_of
from server.report.facts import Outcome, nobody_tests
from server.report.groups import group_tables, group_warnings
from server.report.words import tested_model
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_specs
from shared.tasks.fields import image_columns_of
from shared.text.plural import many
from shared.text.printable import printable, shown
from shared.web.tables import Estimate, number

_COARSE = 0.02  # difference of two figures of one AUROC that wants a word
_BINNED = (
    "This AUROC is of the scores themselves. A real run, with one bin for ten test patients, shows {:.3f} "
    "(docs/metrics.md): with so few patients that is coarse."
)
NO_SCORES = (
    "There are no metrics: hospitals let no scores of their own leave, too few patients are behind them, or "
    "they are one hospital's, which shows them to nobody here. "
    "With [privacy] secure_aggregation = true they are summed over the hospitals; else these set "
    "share_site_metrics = true (docs/policy.md)."
)

NO_TEST = (
    "Nothing was tested: no hospital has a test patient, or tells of one (of fewer than [policy] min_group, "
    "10, a real one tells nothing). In a rehearsal, more patients or larger shares "
    "(--test 0.3) leave some; does 'patient' in the manifest name persons, and not kinds of images? "
    "(docs/data.md)"
)
ROUNDED = (
    "Numbers of training patients and {} are rounded by the hospitals, in a rehearsal too (docs/policy.md)."
)


def why_no_metrics(description: Mapping[str, Any]) -> str:
    """Return why a test that is over gave no metrics, by what `run.json` says."""
    return NO_TEST if nobody_tests(description) else NO_SCORES


def shown_metrics(job: JobSpec) -> list[str]:
    """Return the metrics of the table: the job's own criterion, those that it asks for, its task's.

    A task that knows no truth (images that are noisy everywhere) has its loss alone.
    """
    best = job.evaluation.select_best
    first = [best] if best is not None and best != "loss" else []
    asked = [metric.name for metric in job.evaluation.metrics]
    specs = sorted((spec for spec in metric_specs(job) if spec.shown), key=lambda spec: spec.shown)
    return list(dict.fromkeys([*first, *asked, *(spec.name for spec in specs)]))[:4] or ["loss"]


def results_tables(job: JobSpec, description: Mapping[str, Any], width: int) -> list[Table]:
    """Return the results of a run as `run.json` describes them, in as many tables as the width asks for.

    Each begins with the hospitals, and none of them cuts a name or a number. With baselines they compare one
    metric: what each hospital gets from the federation, from training alone and from a model of all data.

    Args:
        job: What was asked.
        description: See above.
        width: Columns of the terminal.
    """
    outcome = Outcome(job, description)
    names = [*description["test"]["sites"], *description["left_out"]]
    last = "all sites" if description.get("baselines") else "federation"
    site = Column("site", [*names, last], left=True)
    groups = fitting([_result_columns(outcome), _count_columns(outcome)], width - site.width)
    dim = len(description["left_out"])
    tables = [table_of([site, *group], dim=dim, strong=1) for group in groups]
    tables[0].title = f"{job.job.name}: {tested_model(description)} on the test patients"
    if description.get("baselines"):
        tables[0].title += f": {words(shown_metrics(job)[0])}"
    return tables


def _result_columns(outcome: Outcome) -> list[Column]:
    about = outcome.about
    sites, left_out = list(about["test"]["sites"]), list(about["left_out"])
    tested = [outcome.test_patients(name) for name in sites]
    total = outcome.test_patients()
    if all(outcome.estimate(metric).value is None for metric in shown_metrics(outcome.job)):
        tested, total = [count or None for count in tested], total or None  # 0: too few to be told
    counted = [*map(_count, tested), *("–" for _ in left_out), _count(total)]
    columns = [Column("test\npatients", counted)]
    baselines = about.get("baselines")
    for metric in shown_metrics(outcome.job)[: 1 if baselines else None]:
        values = [
            *(outcome.site_estimate(name, metric) for name in sites),
            *(Estimate(None) for _ in left_out),
        ]
        cells = [_lines(value) for value in (*values, outcome.estimate(metric))]
        columns.append(Column("federated" if baselines else words(metric).replace(" ", "\n", 1), cells))
    return [*columns, *_baseline_columns(outcome)] if baselines else columns


def _baseline_columns(outcome: Outcome) -> list[Column]:
    about, metric = outcome.about, shown_metrics(outcome.job)[0]
    alone, pooled = about["baselines"]["alone"], about["baselines"]["pooled"]
    sites, rest = list(about["test"]["sites"]), ["–" for _ in about["left_out"]]
    own = [alone[name]["sites"][name][metric] if name in alone else None for name in sites]
    judged = [result["federation"][metric] for result in alone.values()]
    mean = None if any(value is None for value in judged) else sum(judged) / len(judged)
    everybody = [pooled["sites"][name][metric] for name in sites]
    return [
        Column("alone", [*map(number, own), *rest, number(mean)]),
        Column("pooled", [*map(number, everybody), *rest, number(pooled["federation"][metric])]),
    ]


def _count_columns(outcome: Outcome) -> list[Column]:
    about = outcome.about
    sites, left_out = list(about["test"]["sites"]), list(about["left_out"])
    sent = about.get("bytes_sent")
    parts = [(outcome.patients(name, "train"), outcome.images(name, "train")) for name in sites]
    rest = ["–" for _ in left_out]
    hidden = any(count is None for pair in parts for count in pair)  # the sum would tell what one keeps
    columns = []
    for place, what in enumerate(("patients", _samples(outcome.job))):
        counts = [pair[place] for pair in parts]
        total = None if hidden else sum(count or 0 for count in counts)
        columns.append(Column(f"train\n{what}", [*map(_count, counts), *rest, _count(total)]))
    total_sent = None if sent is None or hidden else sum(sent.values())
    megabytes = [_megabytes((sent or {}).get(name)) for name in sites]
    return [*columns, Column("MB\nsent", [*megabytes, *rest, _megabytes(total_sent)])]


def _samples(job: JobSpec) -> str:
    return "images" if image_columns_of(job) else "rows"


def _notes(outcome: Outcome) -> list[str]:
    """Return what is to be known of the tables."""
    about = outcome.about
    parts = []
    if any(outcome.estimate(metric).low is not None for metric in shown_metrics(outcome.job)):
        parts.append("Below a figure: its interval of 95 %.")
    if any(outcome.images(name, "train") is not None for name in about["test"]["sites"]):
        parts.append(ROUNDED.format(_samples(outcome.job)))
    if about.get("baselines"):
        parts.append(
            "alone: a model of the site's own data, on its own test patients; in the last row the mean of "
            "these models, each on the test patients of all sites."
        )
    parts += [f"{name} was left out: {reason}." for name, reason in about["left_out"].items()]
    parts += [f"{name} only judges: {reason}." for name, reason in about.get("only_judging", {}).items()]
    parts += [
        f"{name} was late in {many(missed, 'round')}." for name, missed in about.get("late", {}).items()
    ]
    return [*parts, *passport_notes(about)]


def passport_notes(about: Mapping[str, Any]) -> list[str]:
    """Return what a run's passport lacks; a run that is simulated has none, and nothing is said."""
    passport = about.get("passport", {})
    lacks = [f"The models have no passport: {passport['problem']}."] if "problem" in passport else []
    unsigned = passport.get("without", {}).items()
    return lacks + [f"{name} signed nothing for the passport: {reason}." for name, reason in unsigned]


def _lines(estimate: Estimate) -> str:
    """Return a figure, and its interval below it."""
    if estimate.low is None or estimate.high is None:
        return number(estimate.value)
    return f"{number(estimate.value)}\n{estimate.low:.2f}–{estimate.high:.2f}"


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)


def print_results(console: Console, job: JobSpec, description: Mapping[str, Any]) -> None:
    """Print what a finished run has brought: the table, what it is worth, what it promises."""
    if job.job.describes:
        _print_description(console, job, description)
        return
    if not job.evaluation.test:
        console.print("The test patients were left alone, as the job says (test = false).", soft_wrap=True)
        print_guarantee(console, description)
        return
    outcome = Outcome(job, description)
    for table in results_tables(job, description, console.width):
        print_whole(console, table)
    for note in _notes(outcome):
        console.print(shown(note), soft_wrap=True)
    print_comparison(console, description)
    for further in (*decision_tables(outcome), *group_tables(outcome, shown_metrics(job))):
        print_table(console, further)
    print_warnings(console, [*decision_warnings(outcome), *group_warnings(outcome)])
    print_missing_scores(console, description)
    print_guarantee(console, description)


def _print_description(console: Console, job: JobSpec, about: Mapping[str, Any]) -> None:
    described = Described(job, about)
    console.print(shown(in_words(described)), soft_wrap=True)
    for table in tables_of(described):
        print_table(console, table)
    if landmarks := landmarks_of(described):
        console.print(shown(f"[data] landmarks = {landmarks}"), soft_wrap=True)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """Print what is doubtful; nothing where nothing is."""
    for warning in warnings:
        console.print(f"[yellow]warning[/]  {escape(printable(warning))}", soft_wrap=True, highlight=False)


def print_comparison(console: Console, description: Mapping[str, Any]) -> None:
    """Print what the test metrics are worth, as `server.report.comparison` describes it."""
    found = description.get("comparison") or {}
    metrics = found.get("metrics") or {}
    if metrics:
        print_whole(console, _comparison_table(metrics, found.get("patients")))
    binned = description["test"]["federation"].get("auroc") or math.nan
    if abs(_exact_auroc(found) - binned) > _COARSE:
        console.print(_BINNED.format(binned), soft_wrap=True, highlight=False)
    print_warnings(console, list(sentences(found)))


def _exact_auroc(found: Mapping[str, Any]) -> float:
    """Return the AUROC of a comparison that has seen the scores; NaN otherwise."""
    of_scores = found.get("how") == "bootstrap"
    value = found.get("metrics", {}).get("auroc", {}).get("value") if of_scores else None
    return math.nan if value is None else float(value)


def _comparison_table(metrics: Mapping[str, Any], patients: int | None) -> Table:
    of = f" of {patients} patients" if patients else ""
    table = Table(title=f"The test{of}: the model beside what sees none of them")
    for column in ("metric", "model", "95 % interval", "one answer\nfor all", "hospital's\nname alone"):
        table.add_column(column, justify="left" if column == "metric" else "right", no_wrap=True)
    for name, one in metrics.items():
        interval = f"{number(one['low'])} to {number(one['high'])}"
        rivals = (number(one.get("constant")), number(one.get("site")))
        table.add_row(words(name), number(one["value"]), interval, *rivals)
    return table


def print_missing_scores(console: Console, description: Mapping[str, Any]) -> None:
    """Say why a run has no metrics, where it has none."""
    scores = description["test"]["federation"].values()
    if all(score is None or math.isnan(score) for score in scores):
        console.print(why_no_metrics(description), soft_wrap=True, highlight=False, markup=False)


def print_guarantee(console: Console, description: Mapping[str, Any]) -> None:
    """Print what a run promises to the patients; nothing where it promises nothing."""
    for line in guarantee_lines(description):
        console.print(shown(line), soft_wrap=True)


def guarantee_lines(description: Mapping[str, Any]) -> list[str]:
    """Return the guarantee in `run.json` as lines of text, sites with the same words together."""
    found = description.get("guarantee")
    if not found:
        return []
    same: dict[str, list[str]] = {}
    for name, facts in found["sites"].items():
        same.setdefault(facts["words"], []).append(name)
    lines = [f"{', '.join(names)}: {said}" for said, names in same.items()]
    return ["Privacy", found["note"], *lines]


def _megabytes(sent: int | None) -> str:
    return "–" if sent is None else f"{sent / 1e6:.3g}"
