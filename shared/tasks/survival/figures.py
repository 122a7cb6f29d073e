"""What there is to see of survival in a rehearsal: the curves of patients by the risk that the model sees."""

import numpy as np
from numpy.typing import NDArray

from shared.metrics.figures import MOST_POINTS, Figure, Point
from shared.tasks.survival.resampled import kaplan_meier

_THIRDS = ("low risk", "middle risk", "high risk")


def survival_by_risk(
    risks: NDArray[np.float64], times: NDArray[np.float64], observed: NDArray[np.float64]
) -> Figure:
    """Return the Kaplan-Meier curve of each third of the patients, by the risk that the model gives them.

    Args:
        risks: (P,); high is bad.
        times: (P,)
        observed: Whether the event came then (P,).
    """
    thirds = np.array_split(np.argsort(risks, kind="stable"), len(_THIRDS))
    points: list[Point] = []
    for name, chosen in zip(_THIRDS, thirds, strict=True):
        if not len(chosen):
            continue
        events = np.stack([times[chosen], observed[chosen]], axis=1)
        edges = np.linspace(0, times[chosen].max(), MOST_POINTS)
        survived = kaplan_meier(events, edges)
        kept = np.append(True, np.diff(survived) != 0)
        kept[-1] = True
        points += [
            (name, round(float(time), 3), round(float(share), 5))
            for time, share in zip(edges[kept], survived[kept], strict=True)
        ]
    return Figure(
        "survival",
        "Survival by predicted risk",
        ("patients of", "time", "share without the event"),
        points,
        "steps",
        says="Kaplan-Meier curves of the thirds of the test patients with low, middle and high risk.",
    )
