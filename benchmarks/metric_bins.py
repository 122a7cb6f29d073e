"""What few bins of scores cost in truth: the curves of skin-lesions, beside exact ones of the same scores.

    python benchmarks/metric_bins.py [--rounds 30] [--quick]

The shipped job on its real hospitals, with at most one bin for ten validation (test) patients of all sites
together. For every evaluation: AUROC and average precision as the run reports them, as the scores have them,
and as 200 fixed bins would give them that take the scores within for ties. The reported ones must be within
0.005 (AUROC) and 0.01 (average precision) in the second half of the rounds and on the test patients; before
that the scores still move far from one round to the next.
"""

import argparse
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DATA, conditions, finish, need, rows_of, shipped
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from science import shortened
from sklearn import metrics as reference

from client.data.samples.site_data import Samples
from client.work import hospital
from client.work.warm_networks import predictions
from shared.metrics.grouped import GroupedMetrics
from shared.tasks.classification.metrics import against_the_rest
from simulate.session.session import Hospitals, execute, start

PACK, JOB = "skin_ham_4sites", "skin-lesions"
LIMITS = {"auroc": 0.005, "average_precision": 0.01}
EXACT = {"auroc": reference.roc_auc_score, "average_precision": reference.average_precision_score}
FIXED = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-10, 10, 198))), [1.0]])

Scores = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Logits against the rest (N, K), and whether each image is of each class (N, K)."""


def main() -> None:
    """Run the job, print the table and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="one round; no figure is held")
    options = parser.parse_args()
    need("metric_bins", PACK, quick=options.quick)
    job = shipped(JOB, {"job.rounds": options.rounds})
    job = shortened(job) if options.quick else job
    with tempfile.TemporaryDirectory(prefix="wardround-bins-") as out, Recorder() as recorder:
        run = start(job, Hospitals(data=DATA / PACK), Path(out), "cpu", baselines=False)
        execute(run, "in-process", Console(file=io.StringIO()))
        reported = rows_of(run.path / "metrics.csv")
        described = run.read_description()
    sites = len(described["sites"])
    evaluations = recorder.evaluations(sites)
    reported.append(described["test"]["federation"])
    names = [*(f"round {row['round']}" for row in reported[:-1]), "test"]
    table = Table(title="reported, exact, and 200 fixed bins with ties; mean of the classes")
    for column in ("evaluation", "bins", *LIMITS):
        table.add_column(column)
    found = []
    for name, row, (bins, scores) in zip(names, reported, evaluations, strict=True):
        figures = {metric: compared(metric, float(row[metric]), scores) for metric in LIMITS}
        found.append(figures)
        table.add_row(name, str(bins), *(" ".join(f"{value:.3f}" for value in figures[m]) for m in LIMITS))
    Console().print(table)
    errors = {m: [abs(one[m][0] - one[m][1]) for one in found[len(found) // 2 :]] for m in LIMITS}
    missed = [f"{m}: {max(errors[m]):.4f}" for m, limit in LIMITS.items() if max(errors[m]) > limit]
    figures = {m: {"largest": max(errors[m]), "mean": float(np.mean(errors[m]))} for m in LIMITS}
    finish("metric_bins", {**conditions(), **figures}, missed, quick=options.quick)


def compared(metric: str, value: float, scores: Scores) -> tuple[float, float, float]:
    """Return the figure that was reported, the exact one, and that of fixed bins with ties."""
    logits, truth = scores
    ties = np.digitize(1 / (1 + np.exp(-logits)), FIXED)
    classes = range(truth.shape[1])
    exact, tied = (
        float(np.mean([EXACT[metric](truth[:, k], values[:, k]) for k in classes]))
        for values in (logits, ties)
    )
    return value, exact, tied


class Recorder:
    """Keeps the scores of all evaluations of this process."""

    def __enter__(self) -> "Recorder":
        self._calls: list[tuple[int, Scores]] = []
        self._original = hospital.evaluate
        hospital.evaluate = self._evaluate
        return self

    def __exit__(self, *_: object) -> None:
        hospital.evaluate = self._original

    def _evaluate(
        self, bench: hospital.Bench, samples: Samples, edges: NDArray[np.float64], **asked: Any
    ) -> GroupedMetrics:
        logits, targets = [], []
        for batch, predicted in predictions(bench.task, bench.models, samples):
            logits.append(predicted["logits"].double())
            targets.append(batch["label"].long())
        scores = against_the_rest(torch.cat(logits)).numpy()
        truth = torch.nn.functional.one_hot(torch.cat(targets), scores.shape[1]).numpy()
        self._calls.append((edges.shape[1] + 1, (scores, truth)))
        return self._original(bench, samples, edges, **asked)

    def evaluations(self, sites: int) -> list[tuple[int, Scores]]:
        """Return the number of bins and the scores of all sites together, of each evaluation."""
        return [pooled(self._calls[i : i + sites]) for i in range(0, len(self._calls), sites)]


def pooled(calls: Sequence[tuple[int, Scores]]) -> tuple[int, Scores]:
    """Return the scores of all sites of one evaluation together."""
    logits, truth = (np.concatenate([scores[part] for _, scores in calls]) for part in (0, 1))
    return calls[0][0], (logits, truth)


if __name__ == "__main__":
    main()
