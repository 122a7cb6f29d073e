"""The bins of scores that sites are asked for: few enough for the patients, and where the scores are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.rounds.federation import Member
from shared.metrics.curves import Curves, bins_for, surely_behind, through
from shared.tasks.base import Task


def edges_for(
    task: Task,
    members: Sequence[Member],
    split: str,
    before: Curves | None,
    marks: Sequence[Sequence[float]] = (),
) -> NDArray[np.float64] | None:
    """Return the edges for an evaluation; None where the task bins no scores.

    Args:
        task: Of the job.
        members: The sites that are asked.
        split: On whose patients.
        before: The curves of the evaluation before; None for the first.
        marks: Logits for each class that shall be edges, see `shared.metrics.curves.through`.
    """
    patients = surely_behind(member.description.patients.get(split, 0) for member in members)
    bins = bins_for(task.job.evaluation.bins, patients)
    if before is None:
        return task.first_edges(bins)
    return through(before.next_edges(bins), marks) if marks else before.next_edges(bins)
