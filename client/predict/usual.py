"""What was usual to a run's model: from the sums of its test."""

import json

import numpy as np

from shared.errors import RunError
from shared.finished_run import FinishedRun
from shared.further_metrics.familiar import Familiar
from shared.further_metrics.feature_moments import FeatureMoments
from shared.run_folder import TEST
from shared.tasks.base import Task


def familiar_of(run: FinishedRun, task: Task) -> Familiar | None:
    """Return what was usual; None where the job asks for no `feature_moments`, or nobody told them.

    Raises:
        RunError: The file of the test is damaged.
    """
    asked = next((own for own in run.job.evaluation.metrics if isinstance(own, FeatureMoments)), None)
    file = run.path / TEST
    if asked is None or not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if not told:
            return None
        edges = None if told["edges"] is None else np.array(told["edges"], np.float64)
        metrics = task.metrics(edges)
        metrics.merge(np.array(told["federation"], np.float64))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"can't be read as the states of a test ({error})", where=file) from None
    columns = metrics.metrics[asked.name].compute()
    return None if columns.isnan().all() else Familiar.of(asked, run.job.task, columns)
