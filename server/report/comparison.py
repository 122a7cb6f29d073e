"""What the test metrics of a run are worth: beside chance, beside the hospital's name, within their interval.

Of a real run only what leaves the sites anyway is used: rounded numbers of patients, and the metric states.
"""

from collections.abc import Iterator, Mapping
from math import isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from server.report.content import words
from shared.job.schema import JobSpec
from shared.metrics.intervals import Interval, of_auroc, of_mean, wilson
from shared.metrics.naive_answers import constant_answer, one_class, site_alone
from shared.metrics.spec import metric_specs
from shared.tasks.fields import Field

if TYPE_CHECKING:
    from server.rounds.judging import Judged

Tally = NDArray[np.int64]


def from_counts(job: JobSpec, judged: "Judged", patients: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return intervals of the test metrics, and what is reached without a look at an image.

    An interval is by the patients, as rounded by their sites: images of one patient tell little more than one
    of them. Rivals are made with the labels of the test itself, as nobody knows those of the training: they
    are the best that there could be.

    Args:
        job: The run's.
        judged: The test.
        patients: Of each site, by side of the split.

    Returns:
        For `run.json`; see `comparison`.
    """
    tally, classified = judged.tally, job.task.classified()
    if classified is None or not classified[1].exclusive or tally is None or not tally[:, 0].any():
        return {}
    label = classified[1]
    told = {name: own[:, 0].astype(float) for name, own in judged.tallies.items() if own is not None}
    number = sum(patients.get(name, {}).get("test", 0) for name in told or judged.sites)
    with_test = [name for name in judged.tallies if judged.examples.get(name, 1)]
    known = len(told) == len(with_test) > 1
    test = np.stack(list(told.values())) if known else tally[None, :, 0].astype(float)
    constant = constant_answer(test, test)
    site = site_alone(test, test, label.judged) if known else {}
    intervals = _intervals(label, judged.federation, tally[:, 0], number)
    return comparison(
        job,
        judged.federation,
        intervals,
        {"constant": constant, "site": site},
        one_class=one_class(label.classes, told),
        patients=number,
        how="counts",
    )


def comparison(
    job: JobSpec,
    values: Mapping[str, float],
    intervals: Mapping[str, Interval],
    rivals: Mapping[str, Mapping[str, float]],
    *,
    one_class: Mapping[str, str],
    patients: int,
    how: str,
    no_interval: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the entry `comparison` of `run.json`.

    Args:
        job: The run's.
        values: Of the model on the test patients of all sites.
        intervals: Of those metrics that are compared, 95 %.
        rivals: What 'constant' (one answer for all) and 'site' (the hospital's name) reach.
        one_class: Sites whose test has a single class -> its name.
        patients: In the test.
        how: 'bootstrap' over the patients, or 'counts'.
        no_interval: Metrics that have none, and why.
    """
    metrics: dict[str, dict[str, Any]] = {}
    lower = {spec.name for spec in metric_specs(job) if spec.lower_is_better}
    for name, (low, high) in intervals.items():
        others = {rival: found[name] for rival, found in rivals.items() if name in found}
        metrics[name] = {"value": values[name], "low": low, "high": high, **others}
        if name in lower:
            metrics[name]["lower_is_better"] = True
    found = {"patients": patients, "how": how, "metrics": metrics, "one_class": dict(one_class)}
    return {**found, "no_interval": dict(no_interval)} if no_interval else found


def from_tally(
    job: JobSpec, values: Mapping[str, float], tally: Tally | None, patients: int
) -> dict[str, Interval]:
    """Return intervals of a classification's metrics from counts alone; nothing of other tasks.

    Args:
        job: The run's.
        values: The metrics.
        tally: Images of each class and the others (K, 2).
        patients: Behind them.
    """
    found = job.task.classified()
    if found is None or not found[1].exclusive or tally is None or not tally[:, 0].any():
        return {}
    return _intervals(found[1], values, tally[:, 0], patients)


def _intervals(
    label: Field, values: Mapping[str, float], images: NDArray[np.int64], patients: int
) -> dict[str, Interval]:
    """Return intervals from counts, in which a patient's images count as one."""
    if not patients:
        return {}
    scale = min(1.0, patients / images.sum())
    cases = images * scale
    found = {}
    if not isnan(values.get("auroc", nan)):
        found["auroc"] = _auroc(label, values, cases)
    recalls = [values.get(name, nan) for name in _recalls(label)]
    of_classes = [(recall, n) for recall, n in zip(recalls, cases, strict=True) if n]
    if not isnan(values.get("balanced_accuracy", nan)) and not any(isnan(recall) for recall, _ in of_classes):
        found["balanced_accuracy"] = of_mean(of_classes)
    if not isnan(values.get("accuracy", nan)):
        found["accuracy"] = wilson(values["accuracy"] * cases.sum(), cases.sum())
    return found


def _recalls(label: Field) -> list[str]:
    """Return what the recall of each class is called; a task of a package may not report it."""
    if len(label.classes) == 2:
        return ["specificity", "sensitivity"]
    return [f"sensitivity/{name}" for name in label.classes]


def _auroc(label: Field, values: Mapping[str, float], cases: NDArray[np.float64]) -> Interval:
    """Return the interval of the AUROC; of a mean over classes, which hang together, of their mean width."""
    classes = label.judged
    names = {k: "auroc" if len(classes) == 1 else f"auroc/{label.classes[k]}" for k in classes}
    single = {k: values.get(name, values["auroc"]) for k, name in names.items()}
    ends = [
        of_auroc(value, cases[k], cases.sum() - cases[k]) for k, value in single.items() if not isnan(value)
    ]
    half = float(np.mean([(high - low) / 2 for low, high in ends]))
    return max(0.0, values["auroc"] - half), min(1.0, values["auroc"] + half)


def sentences(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a statistician would say of a comparison."""
    single = found.get("one_class", {})
    if single:
        named = ", ".join(f"{site} ('{label}')" for site, label in single.items())
        yield (
            f"The test has one class only at {named}: one answer for all has an accuracy of 1.000 there, and "
            "AUROC is undefined."
        )
    for name, reason in found.get("no_interval", {}).items():
        yield f"{words(name)} has no interval: {reason}."
    metrics = {words(name): one for name, one in found.get("metrics", {}).items()}
    yield from _beside_the_site(metrics)
    yield from _beside_one_answer(metrics)


def _beside_the_site(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    beaten = [
        f"{name} {one['site']:.2f}, the model {one['value']:.2f}"
        for name, one in metrics.items()
        if one.get("site") is not None and _gain(one, "site") <= 0 and _gain(one, "constant", "site") > 0
    ]
    if beaten:
        yield (
            f"The name of the hospital alone reaches {'; '.join(beaten)}: nothing here shows that the model "
            "sees the disease rather than the hospital."
        )


def _beside_one_answer(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    gains = {name: _gain(one, "constant") for name, one in metrics.items() if one.get("constant") is not None}
    if useless := [f"{name} ({metrics[name]['value']:.2f})" for name, gain in gains.items() if gain <= 0]:
        yield f"The model is no better than one answer for all: {', '.join(useless)}."
    wide = [
        f"{name} ({metrics[name]['low']:.2f} to {metrics[name]['high']:.2f} for a gain of {gain:.2f})"
        for name, gain in gains.items()
        if 0 < gain < metrics[name]["high"] - metrics[name]["low"]
    ]
    if wide:
        yield f"The 95 % interval is wider than the model's gain over one answer for all: {', '.join(wide)}."


def _gain(one: Mapping[str, Any], rival: str, answer: str = "value") -> float:
    """Return by how much an answer is better than a rival."""
    more = float(one[answer] - one[rival])
    return -more if one.get("lower_is_better") else more
