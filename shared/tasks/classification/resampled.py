"""The figures of a classification for many draws of its patients at once, and what reaches them unseen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.metrics.means import mean, ratio
from shared.metrics.naive_answers import constant_answer, one_class, site_alone
from shared.metrics.paired_tests import auroc_influence
from shared.metrics.replicates import PATIENT, TRAIN, Draws, Rivals, Tables
from shared.tasks.fields import Field

Numbers = NDArray[np.float64]

TRUTH, DECIDED, BINS = "truth", "decided", "bins"
"""Tables of the images of a test: of each class (N, K), taken for one (N, K), bins of the scores (N, J)."""

_AT_ONCE = 100


def resampled(
    table: Mapping[str, NDArray[Any]], patient: NDArray[np.int64], draws: Draws, label: Field
) -> dict[str, Numbers]:
    """Return the metrics of each draw (R,).

    Args:
        table: `TRUTH`, `DECIDED` and `BINS` of all images.
        patient: Of each image (N,).
        draws: (R, P).
        label: What is classified.
    """
    truth, parts = table[TRUTH].astype(float), []
    for start in range(0, len(draws), _AT_ONCE):
        weights = draws[start : start + _AT_ONCE, patient].astype(float)  # (R, N)
        aurocs = [_auroc(weights, truth[:, k], table[BINS][:, j]) for j, k in enumerate(label.judged)]
        found = {"auroc": mean(np.stack(aurocs, axis=1))}
        if label.exclusive:
            images, taken = weights @ truth, weights @ table[DECIDED].astype(float)
            right = weights @ (truth * table[DECIDED])
            f1 = np.where(images > 0, ratio(2 * right, images + taken), np.nan)[:, label.judged]
            found["f1"] = mean(f1)
            found["balanced_accuracy"] = mean(ratio(right, images))
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
    return ratio((ones * below).sum(axis=1), ones.sum(axis=1) * others.sum(axis=1))


def auroc_influences(table: Mapping[str, NDArray[Any]], label: Field) -> Numbers:
    """Return by how much each patient moves the mean AUROC of the classes that have one (P,)."""
    patient, truth, patients = table[PATIENT], table[TRUTH].astype(bool), int(table[PATIENT].max()) + 1
    defined = [(j, k) for j, k in enumerate(label.judged) if truth[:, k].any() and not truth[:, k].all()]
    moves = [auroc_influence(patient, truth[:, k], table[BINS][:, j], patients) for j, k in defined]
    return np.mean(moves, axis=0) if moves else np.zeros(patients)


def rivals(sites: Mapping[str, Tables], label: Field) -> Rivals:
    """Return what the most frequent class reaches, and the shares of the classes at each site."""
    if not label.exclusive:
        return Rivals({"constant": {"auroc": 0.5}})
    classes = len(label.classes)
    train = _counts([_trained(tables, classes) for tables in sites.values()])
    test = _counts([tables[TRUTH].numpy().sum(axis=0) for tables in sites.values()])
    found = {"constant": constant_answer(train, test)}
    if len(sites) > 1:
        found["site"] = site_alone(train, test, label.judged)
    return Rivals(found, one_class(label.classes, dict(zip(sites, test, strict=True))))


def _trained(tables: Tables, classes: int) -> NDArray[np.int64]:
    """Return the training images of each class (K,); none of a site that only tests."""
    return (
        np.bincount(tables[TRAIN].numpy(), minlength=classes) if TRAIN in tables else np.zeros(classes, int)
    )


def _counts(of_sites: Sequence[NDArray[np.int64]]) -> Numbers:
    return np.stack(of_sites).astype(float)
