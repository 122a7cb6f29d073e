"""What it costs that no few patients steer a sum: bounded metrics of the shipped jobs, beside exact ones.

    python benchmarks/bounded_sums.py [--rounds 6] [--least 10] [--quick]

Each shipped job runs on its real hospitals, simulated. For every evaluation the states of all sites are added
up twice: exact, and bounded as a site with `min_group = 10` does it behind masks
(`client/guard/bounded_sums.py`). Sites with fewer patients on the split than `min_group` are in neither sum.
The error is given beside the figure's own standard error over patients, which no sum can be better than.
"""

import argparse
import copy
import csv
import io
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, conditions, finish, need, rows_of, shipped
from rich.console import Console
from rich.table import Table
from science import shortened

from client.data.manifest.splits import CohortKey
from client.data.samples.site_data import Samples
from client.guard.bounded_sums import bound
from client.guard.bounds import Bounds
from client.work import hospital
from shared.job.schema import JobSpec
from shared.metrics.grouped import GroupedMetrics
from shared.metrics.states import Mean, MetricSet
from simulate.session.session import Hospitals, execute, start

JOBS = {"skin-lesions": "skin_ham_4sites", "brain-lgg": "brain_lgg_5sites_2d"}
SWAPPED = "brain-lgg"
MORE: dict[str, dict[str, Any]] = {SWAPPED: {"task.distances": True}}
FIGURES = (
    "loss",
    "calibration_error",
    "dice_global",
    "dice_image",
    "dice_patient",
    "iou",
    "hd95",
    "surface_dice",
)


def main() -> None:
    """Run the jobs and print for each figure how far the bounded one is off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--least", type=int, default=10, help="min_group of every site")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS))
    parser.add_argument("--quick", action="store_true", help="one round of one job; held to no figure")
    options = parser.parse_args()
    need("bounded_sums", *JOBS.values(), quick=options.quick)
    figures: dict[str, Any] = {}
    for name in options.jobs[:1] if options.quick else options.jobs:
        job = shipped(name, {"job.rounds": options.rounds, **MORE.get(name, {})})
        job = shortened(job) if options.quick else job
        figures[name] = measured(job, name, options.least)
    finish("bounded_sums", {**conditions(), **figures}, [], quick=options.quick)


def measured(job: JobSpec, name: str, least: int) -> dict[str, Any]:
    """Run a job; print and return the errors of its figures."""
    with tempfile.TemporaryDirectory(prefix="wardround-sums-") as out, Recorder(least) as recorder:
        data = folder_of(name, Path(out))
        run = start(job, Hospitals(data=data), Path(out) / "runs", "cpu", baselines=False)
        execute(run, "in-process", Console(file=io.StringIO()))
    few, many = min(recorder.patients), max(recorder.patients)
    table = Table(title=f"{name}: {few} to {many} patients of a site, {len(recorder.pairs)} evaluations")
    for column in ("figure", "exact", "bounded", "mean error", "largest", "standard error"):
        table.add_column(column)
    found: dict[str, Any] = {}
    for figure in FIGURES:
        rows = [(e[figure], b[figure]) for e, b in recorder.pairs if figure in e]
        rows = [pair for pair in rows if np.isfinite(pair).all()]
        if not rows:
            continue
        exact, bounded = np.array(rows).T
        errors = np.abs(exact - bounded)
        own = np.mean(recorder.errors[figure]) if figure in recorder.errors else np.nan
        found[figure] = {"mean": float(errors.mean()), "largest": float(errors.max())}
        cells = (exact[-1], bounded[-1], errors.mean(), errors.max(), own)
        table.add_row(figure, *(f"{value:.4f}" for value in cells))
    Console().print(table)
    return found


def folder_of(name: str, folder: Path) -> Path:
    """Return the folder of a job's data; no site of brain-lgg has 10 test patients, so sides are swapped."""
    data = DATA / JOBS[name]
    if name != SWAPPED:
        return data
    rows = rows_of(data / "manifest.csv")
    other = {"train": "test", "test": "train"}
    for row in rows:
        row["split"] = other[row["split"]]
        row.update({key: str(data / row[key]) for key in ("image", "mask")})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder


class Recorder:
    """Adds up the metrics of each evaluation of this process twice."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __enter__(self) -> "Recorder":
        self._sums: dict[bytes, tuple[MetricSet, MetricSet]] = {}
        self._sites: list[MetricSet] = []
        self._original = hospital.evaluate
        self.errors: dict[str, list[float]] = defaultdict(list)
        self.patients: list[int] = []
        hospital.evaluate = self._evaluate
        return self

    def __exit__(self, *_: object) -> None:
        hospital.evaluate = self._original

    @property
    def pairs(self) -> list[tuple[dict[str, float], dict[str, float]]]:
        """Return the exact figures and the bounded ones of every evaluation."""
        return [(exact.compute(), bounded.compute()) for exact, bounded in self._sums.values()]

    def _evaluate(
        self, bench: hospital.Bench, samples: Samples, edges: Any = None, **options: Any
    ) -> GroupedMetrics:
        found = self._original(bench, samples, edges, **options)
        metrics = found.whole
        if len(set(samples.patients)) < self._least:
            return found
        empty = bench.task.metrics(edges), bench.task.metrics(edges)
        key = bench.state.pack().tobytes() + (b"" if edges is None else edges.tobytes())
        exact, bounded = self._sums.setdefault(key, empty)
        exact.merge(metrics.pack())
        own = copy.deepcopy(metrics)
        bound(own, Bounds(self._least, CohortKey.drawn(0).seed), bench.job.evaluation.bins)
        bounded.merge(own.pack())
        self._note(metrics)
        return found

    def _note(self, metrics: MetricSet) -> None:
        """Note the standard errors of the means over patients, of four sites as large as this one."""
        own = copy.deepcopy(metrics)
        own.settle()
        self.patients.append(len(own.values("loss").patients))
        for name, metric in own.metrics.items():
            if isinstance(metric, Mean):
                values = own.values(name)
                one = values.counts[:, 0] > 0
                means = values.sums[one, 0] / values.counts[one, 0]
                self.errors[name].append(float(means.std() / np.sqrt(4 * max(1, len(means)))))


if __name__ == "__main__":
    main()
