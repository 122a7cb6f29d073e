"""The table at the end of a run: one row per site, and the federation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.report.comparison import sentences
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_specs
from shared.tasks.fields import image_columns_of
from shared.text.plural import many
from shared.text.printable import printable, shown

_COARSE = 0.02  # difference of two figures of one AUROC that wants a word
_BINNED = (
    "This AUROC is of the scores themselves. The one above is of one bin for ten test patients, as in a real "
    "run (docs/metrics.md): with so few patients that is coarse."
)
_NO_SCORES = (
    "There are no metrics: hospitals let no scores of their own leave, or too few patients are behind them. "
    "With [privacy] secure_aggregation = true they are summed over the hospitals; else these set "
    "share_site_metrics = true (docs/policy.md)."
)


def shown_metrics(job: JobSpec) -> list[str]:
    """Return the metrics of the table: the job's own criterion, those that it asks for, its task's."""
    best = job.evaluation.select_best
    first = [best] if best is not None and best != "loss" else []
    asked = [metric.name for metric in job.evaluation.metrics]
    specs = sorted((spec for spec in metric_specs(job) if spec.shown), key=lambda spec: spec.shown)
    return list(dict.fromkeys([*first, *asked, *(spec.name for spec in specs)]))[:4]


def results_table(job: JobSpec, description: Mapping[str, Any]) -> Table:
    """Return the results of a run as `run.json` describes them.

    With baselines the table compares one metric: what each hospital gets from the federation, from training
    alone and from a model trained on everybody's data.
    """
    baselines = description.get("baselines")
    round_, rounds = description["tested_round"], description["rounds"]
    # Without padding at the edges four metrics fit into 80 columns.
    title = f"{job.job.name}: the model of round {round_} of {rounds} on the test patients"
    table = Table(title=title, pad_edge=False)
    names = [*description["sites"], *description["left_out"]]
    table.add_column("site", min_width=max(len(name) for name in names), no_wrap=True)
    table.add_column("train\npatients", justify="right", min_width=8)  # as rounded by their site
    samples = "images" if image_columns_of(job) else "rows"
    table.add_column(f"train\n{samples}", justify="right", min_width=6)
    table.add_column("MB\nsent", justify="right")
    if baselines:
        _add_comparison(table, shown_metrics(job)[0], description, baselines)
    else:
        _add_metrics(table, shown_metrics(job), description)
    for name, reason in description["left_out"].items():
        table.add_row(name, *["–"] * (len(table.columns) - 1), style="dim")
        table.caption = f"{table.caption or ''}{name} was left out: {escape(printable(reason))}. "
    for name, reason in description.get("only_judging", {}).items():
        table.caption = f"{table.caption or ''}{name} only judges: {escape(printable(reason))}. "
    for name, missed in description.get("late", {}).items():
        table.caption = f"{table.caption or ''}{name} was late in {many(missed, 'round')}. "
    return table


def print_results(console: Console, job: JobSpec, description: Mapping[str, Any]) -> None:
    """Print what a finished run has brought: the table, what it is worth, what it promises."""
    console.print(results_table(job, description))
    print_comparison(console, description)
    print_missing_scores(console, description)
    print_guarantee(console, description)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """Print what is doubtful; nothing where nothing is."""
    for warning in warnings:
        console.print(f"[yellow]warning[/]  {escape(printable(warning))}", soft_wrap=True, highlight=False)


def print_comparison(console: Console, description: Mapping[str, Any]) -> None:
    """Print what the test metrics are worth, as `server.report.comparison` describes it."""
    found = description.get("comparison") or {}
    metrics = found.get("metrics") or {}
    if metrics:
        console.print(_comparison_table(metrics, found.get("patients")))
    if abs(_exact_auroc(found) - (description["test"]["federation"].get("auroc") or math.nan)) > _COARSE:
        console.print(_BINNED, soft_wrap=True, highlight=False)
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
        interval = f"{_number(one['low'])} to {_number(one['high'])}"
        rivals = (_number(one.get("constant")), _number(one.get("site")))
        table.add_row(name.replace("_", " "), _number(one["value"]), interval, *rivals)
    return table


def print_missing_scores(console: Console, description: Mapping[str, Any]) -> None:
    """Say why a run has no metrics, where it has none."""
    scores = description["test"]["federation"].values()
    if all(score is None or math.isnan(score) for score in scores):
        console.print(_NO_SCORES, soft_wrap=True, highlight=False, markup=False)


def print_guarantee(console: Console, description: Mapping[str, Any]) -> None:
    """Print what a run promises to the patients; nothing where it promises nothing."""
    for line in _guarantee_lines(description):
        console.print(shown(line), soft_wrap=True)


def _guarantee_lines(description: Mapping[str, Any]) -> list[str]:
    """Return the guarantee in `run.json` as lines of text, sites with the same words together."""
    found = description.get("guarantee")
    if not found:
        return []
    same: dict[str, list[str]] = {}
    for name, facts in found["sites"].items():
        same.setdefault(facts["words"], []).append(name)
    lines = [f"{', '.join(names)}: {words}" for words, names in same.items()]
    return ["Privacy", found["note"], *lines]


def _add_metrics(table: Table, metrics: list[str], description: Mapping[str, Any]) -> None:
    for metric in metrics:
        table.add_column(metric.replace("_", " "), justify="right")
    test = description["test"]
    for name, scores in test["sites"].items():
        table.add_row(name, *_counts(description, name), *(_number(scores.get(metric)) for metric in metrics))
    table.add_section()
    scores = test["federation"]
    table.add_row(
        "federation", *_totals(description), *(_number(scores[metric]) for metric in metrics), style="bold"
    )


def _add_comparison(
    table: Table, metric: str, description: Mapping[str, Any], baselines: Mapping[str, Any]
) -> None:
    table.title = f"{table.title}: {metric.replace('_', ' ')}"
    for column in ("federated", "alone", "pooled"):
        table.add_column(column, justify="right")
    test, alone, pooled = description["test"], baselines["alone"], baselines["pooled"]
    for name, scores in test["sites"].items():
        own = alone[name]["sites"][name][metric] if name in alone else None  # who only judges trains none
        row = (scores.get(metric), own, pooled["sites"][name][metric])
        table.add_row(name, *_counts(description, name), *(_number(value) for value in row))
    table.add_section()
    judged = [result["federation"][metric] for result in alone.values()]
    mean = None if any(value is None for value in judged) else sum(judged) / len(judged)
    row = (test["federation"][metric], mean, pooled["federation"][metric])
    table.add_row("all sites", *_totals(description), *(_number(value) for value in row), style="bold")
    table.caption = (
        "alone: a model of the site's own data, on its own test patients; in the last row the mean of these "
        "models, each on the test patients of all sites. "
    )


def _counts(description: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    site, sent = description["sites"][name], description.get("bytes_sent", {}).get(name)
    return _to_train(site.get("patients")), _to_train(site.get("examples")), _megabytes(sent)


def _to_train(counts: Mapping[str, int] | None) -> str:
    return "–" if counts is None else str(counts.get("train", 0))


def _totals(description: Mapping[str, Any]) -> tuple[str, str, str]:
    sites, sent = description["sites"].values(), description.get("bytes_sent")
    if any("patients" not in site for site in sites):  # the sum would tell what one site does not show
        return "–", "–", "–"
    patients = sum(site["patients"].get("train", 0) for site in sites)
    images = sum(site["examples"].get("train", 0) for site in sites)
    return str(patients), str(images), _megabytes(None if sent is None else sum(sent.values()))


def _megabytes(sent: int | None) -> str:
    return "–" if sent is None else f"{sent / 1e6:.3g}"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"
