"""What the test metrics of a run are worth: beside chance, beside the hospital's name, within their interval.

Of a real run only what leaves the sites anyway is used: rounded numbers of patients, and the metric states.
"""

from collections.abc import Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared.job.schema import JobSpec
from shared.metrics.intervals import Interval, of_auroc, of_mean, wilson
from shared.metrics.naive_answers import constant_answer, site_alone
from shared.tasks.classification.options import Classification, classification_of

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
    tally = judged.tally
    if (
        not isinstance(job.task, Classification)
        or job.task.multi_label
        or tally is None
        or not tally[:, 0].any()
    ):
        return {}
    told = {name: own[:, 0].astype(float) for name, own in judged.tallies.items() if own is not None}
    number = sum(patients.get(name, {}).get("test", 0) for name in told or judged.sites)
    with_test = [name for name in judged.tallies if judged.examples.get(name, 1)]
    known = len(told) == len(with_test) > 1
    test = np.stack(list(told.values())) if known else tally[None, :, 0].astype(float)
    constant = constant_answer(test, test)
    site = site_alone(test, test, classification_of(job).judged) if known else {}
    intervals = _intervals(job, judged.federation, tally[:, 0], number)
    return comparison(
        judged.federation,
        intervals,
        {"constant": constant, "site": site},
        one_class=one_class(job, told),
        patients=number,
        how="counts",
    )


def comparison(
    values: Mapping[str, float],
    intervals: Mapping[str, Interval],
    rivals: Mapping[str, Mapping[str, float]],
    *,
    one_class: Mapping[str, str],
    patients: int,
    how: str,
) -> dict[str, Any]:
    """Return the entry `comparison` of `run.json`.

    Args:
        values: Of the model on the test patients of all sites.
        intervals: Of those metrics that are compared, 95 %.
        rivals: What 'constant' (one answer for all) and 'site' (the hospital's name) reach.
        one_class: Sites whose test has a single class -> its name.
        patients: In the test.
        how: 'bootstrap' over the patients, or 'counts'.
    """
    metrics = {}
    for name, (low, high) in intervals.items():
        others = {rival: found[name] for rival, found in rivals.items() if name in found}
        metrics[name] = {"value": values[name], "low": low, "high": high, **others}
    return {"patients": patients, "how": how, "metrics": metrics, "one_class": dict(one_class)}


def one_class(job: JobSpec, tests: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the sites whose test has a single class, and which; `tests` has the images of each class."""
    return {
        name: classification_of(job).classes[int(np.argmax(counts))]
        for name, counts in tests.items()
        if np.count_nonzero(counts) == 1
    }


def _intervals(
    job: JobSpec, values: Mapping[str, float], images: NDArray[np.int64], patients: int
) -> dict[str, Interval]:
    """Return intervals from counts, in which a patient's images count as one."""
    if not patients:
        return {}
    scale = min(1.0, patients / images.sum())
    cases = images * scale
    found = {}
    if not isnan(values["auroc"]):
        found["auroc"] = _auroc(job, values, cases)
    if not isnan(values["balanced_accuracy"]):
        recalls = zip(_recalls(job, values), cases, strict=True)
        found["balanced_accuracy"] = of_mean([(recall, n) for recall, n in recalls if n])
    if not isnan(values["accuracy"]):
        found["accuracy"] = wilson(values["accuracy"] * cases.sum(), cases.sum())
    return found


def _recalls(job: JobSpec, values: Mapping[str, float]) -> list[float]:
    if len(classification_of(job).classes) == 2:
        return [values["specificity"], values["sensitivity"]]
    return [values[f"sensitivity/{name}"] for name in classification_of(job).classes]


def _auroc(job: JobSpec, values: Mapping[str, float], cases: NDArray[np.float64]) -> Interval:
    """Return the interval of the AUROC; of a mean over classes, which hang together, of their mean width."""
    classes = classification_of(job).judged
    single = {
        k: values["auroc" if len(classes) == 1 else f"auroc/{classification_of(job).classes[k]}"]
        for k in classes
    }
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
    metrics = {_words(name): one for name, one in found.get("metrics", {}).items()}
    yield from _beside_the_site(metrics)
    yield from _beside_one_answer(metrics)


def _beside_the_site(metrics: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    beaten = [
        f"{name} {one['site']:.2f}, the model {one['value']:.2f}"
        for name, one in metrics.items()
        if one.get("site") is not None and one["site"] >= one["value"] and one["site"] > one["constant"]
    ]
    if beaten:
        yield (
            f"The name of the hospital alone reaches {'; '.join(beaten)}: nothing here shows that the model "
            "sees the disease rather than the hospital."
        )


def _beside_one_answer(metrics: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    gains = {
        name: one["value"] - one["constant"]
        for name, one in metrics.items()
        if one.get("constant") is not None
    }
    if useless := [f"{name} ({metrics[name]['value']:.2f})" for name, gain in gains.items() if gain <= 0]:
        yield f"The model is no better than one answer for all: {', '.join(useless)}."
    wide = [
        f"{name} ({metrics[name]['low']:.2f} to {metrics[name]['high']:.2f} for a gain of {gain:.2f})"
        for name, gain in gains.items()
        if 0 < gain < metrics[name]["high"] - metrics[name]["low"]
    ]
    if wide:
        yield f"The 95 % interval is wider than the model's gain over one answer for all: {', '.join(wide)}."


def _words(metric: str) -> str:
    return {"auroc": "AUROC"}.get(metric, metric.replace("_", " "))
