"""What is reached without a look at any image: by one answer for all, or by the hospital's name alone.

A model is worth what it reaches beyond that. Labels are given as counts of images, by site and class.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

METRICS = ("auroc", "balanced_accuracy", "accuracy")

Counts = NDArray[np.float64]


def constant_answer(train: Counts, test: Counts) -> dict[str, float]:
    """Return what always naming the class that is the most frequent in training reaches.

    Args:
        train: Training images of each class (S, K), each of one class.
        test: Test images of each class (S, K).

    Returns:
        Name of the metric -> its value; NaN where it is undefined.
    """
    of_class, of_test = train.sum(axis=0), test.sum(axis=0)
    occurring = np.count_nonzero(of_test)
    accuracy = of_test[of_class.argmax()] / of_test.sum() if occurring else np.nan
    return {
        "auroc": 0.5 if occurring > 1 else np.nan,
        "balanced_accuracy": 1 / occurring if occurring else np.nan,
        "accuracy": float(accuracy),
    }


def site_alone(train: Counts, test: Counts, judged: Sequence[int]) -> dict[str, float]:
    """Return what an answer by the site's name alone reaches: the shares of the classes in its training.

    Args:
        train: Training images of each class (S, K), each of one class.
        test: Test images of each class (S, K).
        judged: The classes whose AUROC counts, of two the second alone.

    Returns:
        Name of the metric -> its value; NaN where it is undefined.
    """
    shares = class_shares(train)
    lifted = shares / np.maximum(class_shares(train.sum(axis=0, keepdims=True)), 1e-12)
    images, sites = test.sum(axis=0), np.arange(len(test))
    occurring = images > 0
    if not occurring.any():
        return dict.fromkeys(METRICS, np.nan)
    right = np.zeros_like(test)
    right[sites, lifted.argmax(axis=1)] = test[sites, lifted.argmax(axis=1)]
    recalls = right.sum(axis=0)[occurring] / images[occurring]
    aurocs = [auroc_of_groups(test[:, k], test.sum(axis=1) - test[:, k], shares[:, k]) for k in judged]
    defined = [value for value in aurocs if not np.isnan(value)]
    return {
        "auroc": float(np.mean(defined)) if defined else np.nan,
        "balanced_accuracy": float(recalls.mean()),
        "accuracy": float(test[sites, shares.argmax(axis=1)].sum() / images.sum()),
    }


def class_shares(counts: Counts) -> Counts:
    """Return the shares of the classes at each site (S, K); of all sites where one has no images."""
    images = counts.sum(axis=1, keepdims=True)
    overall = counts.sum(axis=0) / max(counts.sum(), 1)
    return np.where(images > 0, counts / np.maximum(images, 1e-12), overall)


def auroc_of_groups(positives: Counts, negatives: Counts, scores: Counts) -> float:
    """Return the AUROC of images that have the score of their group; NaN where one kind is missing.

    Args:
        positives: Images of the class in each group (S,).
        negatives: Other images in each group (S,).
        scores: Of the groups (S,).
    """
    if not positives.sum() or not negatives.sum():
        return float("nan")
    values, group = np.unique(scores, return_inverse=True)
    ones = np.bincount(group, positives, minlength=len(values))
    others = np.bincount(group, negatives, minlength=len(values))
    below = np.cumsum(others) - others / 2
    return float(ones @ below / (ones.sum() * others.sum()))


def one_class(classes: Sequence[str], tests: Mapping[str, Counts]) -> dict[str, str]:
    """Return the sites whose test has a single class, and which; `tests` has images by class (K,)."""
    return {
        name: classes[int(np.argmax(counts))]
        for name, counts in tests.items()
        if np.count_nonzero(counts) == 1
    }
