"""Conformal prediction sets: which classes an image may have, with a stated coverage."""

from math import ceil

import numpy as np

from shared.decisions.rows import Row
from shared.metrics.curves import LARGEST_EDGE


def cut_of(row: Row, coverage: float, independent: float) -> float:
    """Return the logit from which on a class belongs to an image's set.

    Of n images of the class at least ceil((n + 1) * coverage) must have it in their set: then a further one
    has it with at least that chance, whatever the model, if it is as those are (split conformal prediction
    by class: Vovk, "Conditional validity of inductive conformal predictors", 2012, section 4; the score is
    that of Sadinle, Lei and Wasserman, JASA 2019). The quantile is of the sum of all sites, as in Lu et al.,
    "Federated conformal predictors", ICML 2023: it holds for patients of all sites together, mixed as they
    were.

    The cut is at an edge of a bin, the next one below the quantile: never a smaller set than it asks for.
    Where no edge is low enough, as of few images, the class is in every set.

    Args:
        row: Of the validation patients.
        coverage: Between 0 and 1.
        independent: Share of the images that count as independent: of patients with several images each, n
            is the patients.
    """
    images = int(row.positives.sum())
    number = images * independent
    if number < 1:
        return -LARGEST_EDGE
    share = ceil((number + 1) * coverage - 1e-9) / number  # above 1 of too few
    enough = np.flatnonzero(row.from_edge(row.positives) >= share * images)
    return float(row.edges[enough[-1]]) if len(enough) else -LARGEST_EDGE
