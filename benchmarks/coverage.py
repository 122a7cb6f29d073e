"""Do 95 % intervals hold the truth in 95 of 100 federations? Made federations, whose truth is known.

    python benchmarks/coverage.py [CASE ...] [--federations 500] [--patients 40 150] [--quick]

No network is trained: the answers of a model that is right in part are drawn, for four hospitals of unlike
size and case mix, with one to five images of each patient that resemble each other. The interval that a
rehearsal has (`shared.metrics.bootstrap`) is held against the figure of many thousand such patients: it must
hold it in 93 to 97 % of the federations. Beside it stand plain percentiles of the same draws, which are held
to nothing, and for classification what a real run says from counts (`server.report.comparison.from_counts`).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import conditions, finish
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from server.report.comparison import from_counts
from server.rounds.judging import Judged
from shared.batch import Batch, Prediction
from shared.job.schema import JobSpec, parse_job
from shared.metrics.bootstrap import Bootstrap
from shared.metrics.intervals import Interval
from shared.metrics.replicates import parts_of_means, patients_in
from shared.metrics.states import MetricSet
from shared.tasks import make_task
from shared.tasks.base import Task

LEAST, MOST = 0.93, 0.97
SHARES = (0.12, 0.2, 0.3, 0.38)  # of the patients, by hospital
ILL = np.array([0.3, 0.4, 0.5, 0.6])
DRIFT = np.array([-0.2, 0.0, 0.1, 0.3])  # of the scores
_PIXELS = (8, 16)
_METHODS = ("rehearsal", "percentiles", "from counts")
_AT_ONCE, _DRAWS = 20_000, 1000
_MANY_QUICK = 2000

Answers = Callable[[np.random.Generator, int, NDArray[np.int64]], tuple[Prediction, dict[str, torch.Tensor]]]
"""(generator, hospital, patient of each image (N,)) -> what a model says of the images, and what is true."""


def scored(generator: np.random.Generator, site: int, patient: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return scores of ill and well patients; all images of a patient have one label."""
    people = int(patient.max()) + 1
    ill = generator.random(people) < ILL[site]
    own = 1.5 * ill + generator.normal(0, 0.8, people) + DRIFT[site]
    score = own[patient] + generator.normal(0, 0.6, len(patient)) - 0.75
    logits = np.stack([-score / 2, score / 2], axis=1)
    return {"logits": torch.from_numpy(logits)}, {"label": torch.from_numpy(ill[patient].astype(np.int64))}


def outlined(generator: np.random.Generator, site: int, patient: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return discs that a model finds more or less well: the more of a patient, the more of all images."""
    skill = 1.2 + DRIFT[site] + generator.normal(0, 0.6, int(patient.max()) + 1)[patient]
    images = len(patient)
    mask = np.zeros((images, np.prod(_PIXELS)), np.int64)
    sizes = generator.integers(10, 50, images)
    mask[np.arange(mask.shape[1]) < sizes[:, None]] = 1
    logit = np.where(mask == 1, skill[:, None], -1.5 - skill[:, None] / 2)
    logit = (logit + generator.normal(0, 1, mask.shape)).reshape(images, *_PIXELS)
    logits = torch.from_numpy(np.stack([-logit / 2, logit / 2], axis=1))
    return {"logits": logits}, {"mask": torch.from_numpy(mask.reshape(images, *_PIXELS))}


def measured(generator: np.random.Generator, site: int, patient: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return ages, and errors with a long tail that a patient's images share."""
    people = int(patient.max()) + 1
    age = generator.normal(0, 1, people)[patient]
    error = generator.normal(0.1 * site, 0.3, people) * generator.lognormal(0, 0.6, people)
    said = age + error[patient] + generator.normal(0, 0.15, len(patient))
    return {"standard": torch.from_numpy(said)[:, None]}, {"number": torch.from_numpy(age)[:, None]}


def survived(generator: np.random.Generator, site: int, patient: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return chances of surviving that know a part of the risk; a third of the patients is censored."""
    risk = generator.normal(DRIFT[site], 1, int(patient.max()) + 1)
    time = generator.exponential(30 * np.exp(-0.8 * risk))
    end = generator.exponential(60, len(risk))
    event = np.stack([np.minimum(time, end), time <= end], axis=1)[patient]
    known = (risk + generator.normal(0, 0.8, len(risk)))[patient] + generator.normal(0, 0.3, len(patient))
    logits = torch.from_numpy(known - 1)[:, None] + torch.zeros(3)
    return {"logits": logits}, {"event": torch.from_numpy(event)}


@dataclass(frozen=True)
class Case:
    """Federations of one kind.

    Attributes:
        figures: Those whose intervals are held against the truth.
        task: `[task]` of the job that reports them.
        answers: Draws what a model says.
        model: `[model]`.
        images: Whether the job has images.
        many: Patients of whom chance has no part in a figure.
    """

    figures: tuple[str, ...]
    task: dict[str, Any]
    answers: Answers
    model: dict[str, Any]
    images: bool = True
    many: int = 60_000

    @property
    def job(self) -> JobSpec:
        """The job."""
        tables = {
            "job": {"name": "coverage", "dataset": "made", "rounds": 1, "seed": 1},
            "task": self.task,
            "model": self.model,
            "data": {"size": list(_PIXELS)} if self.images else {},
            "training": {"local_epochs": 1, "batch_size": 2, "learning_rate": 0.01},
            "strategy": {"name": "fedavg"},
        }
        return parse_job(tables, "coverage")


CASES = {
    "classification": Case(
        ("auroc", "balanced_accuracy"),
        {"name": "classification", "classes": ["well", "ill"], "loss": "cross-entropy"},
        scored,
        {"name": "cnn", "channels": [4]},
    ),
    "segmentation": Case(
        ("dice_global", "dice_patient"),
        {"name": "segmentation", "classes": ["disc"], "loss": "dice-ce"},
        outlined,
        {"name": "unet", "channels": [4, 8]},
    ),
    "regression": Case(
        ("mae",),
        {"name": "regression", "targets": ["age"], "scaling": {"age": [0.0, 1.0]}},
        measured,
        {"name": "cnn", "channels": [4]},
        many=600_000,  # a few errors are so large that the mean of 60,000 is off by 0.003
    ),
    "survival": Case(
        ("concordance",),
        {"name": "survival", "columns": ["age"], "intervals": [12.0, 36.0, 60.0]},
        survived,
        {"name": "mlp", "hidden": [4]},
        images=False,
        many=8000,
    ),
}


def tested(task: Task, answers: Answers, site: int, people: int, generator: np.random.Generator) -> MetricSet:
    """Return the metrics of a hospital's test, with everything added."""
    metrics = task.metrics(task.fine_edges())
    patient = np.repeat(np.arange(people), generator.integers(1, 6, people))
    predicted, fields = answers(generator, site, patient)
    for start in range(0, len(patient), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        names = [f"{site}-{one:07d}" for one in patient[part]]
        batch = Batch({name: values[part] for name, values in fields.items()}, names, keys=names)
        own = {name: values[part] for name, values in predicted.items()}
        task.update(metrics, own, batch, torch.zeros(len(names)))
    metrics.settle()
    return metrics


def truth_of(case: Case, task: Task, many: int) -> dict[str, float]:
    """Return the figures of so many patients."""
    whole = task.metrics(task.fine_edges())
    for site, share in enumerate(SHARES):
        generator = np.random.default_rng([7, site])
        whole.merge(tested(task, case.answers, site, round(many * share), generator).pack())
    return whole.compute()


def intervals(case: Case, task: Task, patients: int, number: int) -> dict[tuple[str, str], Interval]:
    """Return what is said of one federation, by figure and by how it is said."""
    sets = {
        f"site-{site}": tested(
            task, case.answers, site, round(patients * share), np.random.default_rng([number, site])
        )
        for site, share in enumerate(SHARES)
    }
    sites = [own.patient_tables() for own in sets.values()]
    bootstrap = Bootstrap(sum(map(patients_in, sites)), _DRAWS, number)
    metrics = task.metrics(task.fine_edges())
    spreads, figures = metrics.spreads(sites), metrics.resampled(sites, bootstrap.draws)
    parts = parts_of_means(metrics, sites)
    found: dict[tuple[str, str], Interval] = {}
    for name in case.figures:
        of_mean = bootstrap.interval_of_mean(float(figures[name][0]), parts[name]) if name in parts else None
        if interval := of_mean or bootstrap.interval(figures[name], spreads.get(name, 1.0)):
            found[name, "rehearsal"] = interval
        low, high = np.nanpercentile(figures[name][1 : _DRAWS + 1], (2.5, 97.5))
        found[name, "percentiles"] = float(low), float(high)
    counts = {site: {"test": patients_in(own)} for site, own in zip(sets, sites, strict=True)}
    counted = from_counts(task.job, judged(task, sets), counts).get("metrics", {})
    for name in case.figures:
        if name in counted:
            found[name, "from counts"] = counted[name]["low"], counted[name]["high"]
    return found


def judged(task: Task, sites: dict[str, MetricSet]) -> Judged:
    """Return a test as a coordinator has it."""
    pooled = task.metrics(task.fine_edges())
    for own in sites.values():
        pooled.merge(own.pack())
    tallies = {name: own.tally() for name, own in sites.items()}
    scores = {name: own.compute() for name, own in sites.items()}
    return Judged(pooled.compute(), scores, {}, {}, {}, True, None, pooled.tally(), tallies)


def coverage(
    case: Case, patients: int, federations: int, many: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return by figure and method in which share of the federations the interval holds the truth."""
    task = make_task(case.job)
    truth = truth_of(case, task, many)
    rows: dict[tuple[str, str], list[Interval]] = {}
    for number in range(federations):
        for key, interval in intervals(case, task, patients, number).items():
            rows.setdefault(key, []).append(interval)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in case.figures}
    for (name, how), own in rows.items():
        low, high = np.array(own).T
        found[name][how] = {
            "holds": round(float(((low <= truth[name]) & (truth[name] <= high)).mean()), 4),
            "above the truth": round(float((truth[name] < low).mean()), 4),
            "below the truth": round(float((truth[name] > high).mean()), 4),
            "width": round(float((high - low).mean()), 4),
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases asked for, print a table, and fail where an interval holds too little or too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="all of them, if none is named")
    parser.add_argument("--federations", type=int, default=500)
    parser.add_argument(
        "--patients", nargs="+", type=int, default=[40, 150], help="who test, of all hospitals"
    )
    parser.add_argument("--quick", action="store_true", help="three federations; held to no figure")
    options = parser.parse_args(arguments)
    federations = 3 if options.quick else options.federations
    sizes = [40] if options.quick else options.patients
    table = Table(title=f"Share of {federations} federations whose interval of 95 % holds the truth")
    for column in ("figure", "patients", *_METHODS):
        table.add_column(column, justify="left" if column == "figure" else "right")
    figures: dict[str, Any] = conditions()
    missed = []
    for case in options.cases or CASES:
        for patients in sizes:
            many = _MANY_QUICK if options.quick else CASES[case].many
            for name, found in coverage(CASES[case], patients, federations, many).items():
                figures[f"{name}, {patients} patients"] = found
                cells = [f"{found[how]['holds']:.3f}" if how in found else "–" for how in _METHODS]
                table.add_row(name, str(patients), *cells)
                held = found["rehearsal"]["holds"]
                if not LEAST <= held <= MOST:
                    missed.append(f"{name}, {patients} patients: {held:.3f} hold it, not {LEAST} to {MOST}")
    Console().print(table)
    finish("coverage", figures, missed, quick=options.quick)


if __name__ == "__main__":
    main()
