"""What a simulation can say of its test that a real run can't: it sees the patients behind the figures.

Intervals are percentiles of a bootstrap over the patients of all sites (Efron and Tibshirani, 1993): a
patient's images are drawn together.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.work.hospital import Site
from client.work.warm_networks import evaluate
from server.report.comparison import comparison, one_class
from shared.job.schema import JobSpec
from shared.metrics.intervals import Interval
from shared.metrics.naive_answers import constant_answer, site_alone
from shared.tasks.classification.metrics import ClassificationMetrics
from shared.tasks.classification.options import Classification, classification_of
from shared.tasks.segmentation.metrics import SegmentationMetrics
from shared.tasks.segmentation.options import Segmentation
from shared.wire.messages import Request

LEAST_PATIENTS = 10  # below, a bootstrap says too little about itself
_DRAWS = 1000
_AT_ONCE = 100
_FINE = np.sinh(np.linspace(-12, 12, 4001)) / 1e3  # logits, densest at 0: as good as exact scores

Tables = Mapping[str, torch.Tensor]
Numbers = NDArray[np.float64]


def judge(site: Site, request: Request) -> tuple[dict[str, Any], Tables]:
    """Test the model that a site judges on its test patients and return what there is of each of them.

    Args:
        site: Has the patients, and under some strategies a model of its own.
        request: For the test.

    Returns:
        Nothing, and tables: `patient` (N,) numbers; of classification `truth` (N, K), `decided` (N, K),
        `bins` (N, J) of the scores and `train` (K,) images; of segmentation `voxels` (N, 3, structures).
    """
    bench = site.judging(request)
    job, data = bench.job, site.data(bench.job)
    torch.set_num_threads(job.training.threads)
    test = data.split("test")
    if not len(test):
        return {}, {}
    edges = np.tile(_FINE, (len(job.task.judged), 1)) if isinstance(job.task, Classification) else None
    found = evaluate(bench, test, edges)
    if isinstance(found, SegmentationMetrics):
        voxels = torch.stack(list(found.patients.values()))
        return {}, {"patient": torch.arange(len(voxels)), "voxels": voxels}
    if not isinstance(found, ClassificationMetrics):
        return {}, {}
    images = found.images
    numbers = np.unique(images.patients, return_inverse=True)[1]
    tables = {"patient": numbers, "truth": images.truth, "decided": images.decided, "bins": images.bins}
    train = torch.from_numpy(data.class_counts())
    return {}, {name: torch.from_numpy(table) for name, table in tables.items()} | {"train": train}


def compare(job: JobSpec, sites: Mapping[str, Tables]) -> dict[str, Any]:
    """Return the entry `comparison` of `run.json`, from what `judge` returned of each site.

    Args:
        job: The run's; its seed draws.
        sites: By name; those without test patients may have no tables.
    """
    tested = {name: tables for name, tables in sites.items() if tables}
    if not tested:
        return {}
    numbers = [int(tables["patient"].max()) + 1 for tables in tested.values()]
    starts = np.cumsum([0, *numbers])
    table = {
        name: np.concatenate([tables[name].numpy() for tables in tested.values()])
        for name in next(iter(tested.values()))
        if name not in ("train", "patient")
    }
    table["patient"] = np.concatenate(
        [tables["patient"].numpy() + start for tables, start in zip(tested.values(), starts, strict=False)]
    )
    patients = int(starts[-1])
    generator = np.random.default_rng(job.job.seed)
    drawn_patients = generator.multinomial(patients, np.full(patients, 1 / patients), _DRAWS)
    draws = np.vstack([np.ones(patients), drawn_patients])  # the first is the test itself
    single: dict[str, str] = {}
    if isinstance(job.task, Segmentation):
        drawn, rivals = _segmentation(table["voxels"], draws), _empty(table)
    else:
        drawn = _classification(job, table, draws)
        rivals, single = _rivals(job, tested)
    return comparison(
        {name: float(values[0]) for name, values in drawn.items()},
        _percentiles(drawn) if patients >= LEAST_PATIENTS else {},
        rivals,
        one_class=single,
        patients=patients,
        how="bootstrap",
    )


def _percentiles(drawn: Mapping[str, Numbers]) -> dict[str, Interval]:
    found = {}
    for name, values in drawn.items():
        if not np.isnan(values[0]):
            low, high = np.nanpercentile(values[1:], (2.5, 97.5))
            found[name] = (float(low), float(high))
    return found


def _rivals(job: JobSpec, tested: Mapping[str, Tables]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    if classification_of(job).multi_label:
        return {"constant": {"auroc": 0.5}}, {}
    train = np.stack([tables["train"].numpy() for tables in tested.values()]).astype(float)
    test = np.stack([tables["truth"].numpy().sum(axis=0) for tables in tested.values()]).astype(float)
    rivals = {"constant": constant_answer(train, test)}
    if len(tested) > 1:
        rivals["site"] = site_alone(train, test, classification_of(job).judged)
    return rivals, one_class(job, dict(zip(tested, test, strict=True)))


def _classification(
    job: JobSpec, table: Mapping[str, NDArray[Any]], draws: NDArray[Any]
) -> dict[str, Numbers]:
    """Return the metrics of each draw (R,)."""
    truth, patient = table["truth"].astype(float), table["patient"]
    classes = range(truth.shape[1]) if table["bins"].shape[1] > 1 else [1]
    parts = []
    for start in range(0, len(draws), _AT_ONCE):
        weights = draws[start : start + _AT_ONCE, patient]  # (R, N)
        aurocs = [_auroc(weights, truth[:, k], table["bins"][:, j]) for j, k in enumerate(classes)]
        found = {"auroc": _mean(np.stack(aurocs, axis=1))}
        if not classification_of(job).multi_label:
            images = weights @ truth
            right = weights @ (truth * table["decided"])
            found["balanced_accuracy"] = _mean(_ratio(right, images))
            found["accuracy"] = right.sum(axis=1) / images.sum(axis=1)
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _auroc(weights: Numbers, truth: Numbers, bins: NDArray[np.int64]) -> Numbers:
    """Return the AUROC of each draw (R,), ties by half; NaN where one kind is missing."""
    order = np.argsort(bins, kind="stable")
    starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
    ones = np.add.reduceat((weights * truth)[:, order], starts, axis=1)
    others = np.add.reduceat((weights * (1 - truth))[:, order], starts, axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    return _ratio((ones * below).sum(axis=1), ones.sum(axis=1) * others.sum(axis=1))


def _segmentation(voxels: NDArray[Any], draws: Numbers) -> dict[str, Numbers]:
    """Return the metrics of each draw (R,) from the voxels of each patient (P, 3, structures)."""
    tp, fp, fn = np.moveaxis(np.tensordot(draws, voxels.astype(float), axes=1), 1, 0)  # each (R, structures)
    found, wrong, missed = np.moveaxis(voxels.astype(float), 1, 0)
    each = np.nan_to_num(_ratio(2 * found, 2 * found + wrong + missed), nan=1.0)
    return {
        "dice_global": _mean(_ratio(2 * tp, 2 * tp + fp + fn)),
        "dice_patient": (draws @ each / draws.sum(axis=1, keepdims=True)).mean(axis=1),
    }


def _empty(table: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, float]]:
    """Return what an answer without any foreground reaches."""
    truth = table["voxels"][:, 0] + table["voxels"][:, 2]
    return {"constant": {"dice_global": 0.0, "dice_patient": float((truth == 0).mean())}}


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _mean(values: Numbers) -> Numbers:
    """Return the mean over the last axis of what is defined."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(float))
