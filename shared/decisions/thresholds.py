"""Operating points: the threshold of each class, chosen at an edge of its bins, where counts are exact."""

import numpy as np

from shared.decisions.rows import Row
from shared.job.decision_options import DecisionsTable


def threshold_of(row: Row, asked: DecisionsTable) -> float | None:
    """Return the logit from which on an image is taken for the class; None where no edge does what is asked.

    'youden' is the edge of the largest sensitivity + specificity - 1 (Youden, Cancer 1950). With a least
    sensitivity it is the highest edge that has it, with a least specificity the lowest one: each leaves the
    other figure as large as it can be.

    Args:
        row: Of the validation patients.
        asked: By the job.
    """
    if not row.is_known:
        return None
    found = row.from_edge(row.positives) / row.positives.sum()
    kept = 1 - row.from_edge(row.negatives) / row.negatives.sum()
    if asked.operating_point == "youden":
        return float(row.edges[np.argmax(found + kept)])
    assert asked.at_least is not None  # noqa: S101 (the table has seen to it)
    figure, place = (found, -1) if asked.operating_point == "sensitivity" else (kept, 0)
    places = np.flatnonzero(figure >= asked.at_least)
    return float(row.edges[places[place]]) if len(places) else None
