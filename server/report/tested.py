"""What is drawn of the test of a run: by its task, with PyTorch."""

import warnings
from collections.abc import Iterator
from typing import Any

from server.report.facts import RunFacts
from shared.errors import RunError
from shared.loading import loading
from shared.metrics.figures import Figure
from shared.run_folder import PATIENTS, REHEARSAL, TEST

with loading():
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from shared.metrics.replicates import Tables
    from shared.tasks import make_task
    from shared.tasks.base import Task


def task_of(facts: RunFacts) -> Task:
    """Return the task of a run, which knows the statistics of its sites."""
    with loading():
        task = make_task(facts.job)
    task.statistics = {
        name: np.asarray(numbers) for name, numbers in (facts.about.get("statistics") or {}).items()
    }
    return task


def patient_tables(facts: RunFacts) -> dict[str, Tables]:
    """Return what a rehearsal has kept of each test patient, by site; nothing of a real run.

    Raises:
        RunError: The file is damaged.
    """
    file = facts.record.path / REHEARSAL / PATIENTS
    if not file.exists():
        return {}
    found: dict[str, dict[str, Any]] = {}
    try:
        content = load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"can't be read ({error})", where=file) from None
    for name, values in content.items():
        site, _, table = name.rpartition("/")
        found.setdefault(site, {})[table] = values
    return dict(sorted(found.items()))


def figures_of(facts: RunFacts) -> list[Figure]:
    """Return what is drawn of the sums of all hospitals, and in a rehearsal of single patients.

    Raises:
        RunError: A file is damaged, or of another job.
    """
    with warnings.catch_warnings():
        # States that are merged and never updated are a mistake in torchmetrics' eyes.
        warnings.filterwarnings("ignore", message=".*before the ``update`` method", category=UserWarning)
        return list(_of_metrics(facts))


def _of_metrics(facts: RunFacts) -> Iterator[Figure]:
    states, task = facts.states(), task_of(facts)
    if states.get("federation"):
        edges = states.get("edges")
        try:
            metrics = task.metrics(None if edges is None else np.array(edges, np.float64))
            metrics.merge(np.array(states["federation"], np.float64))
        except (ValueError, TypeError) as error:
            where = facts.record.path / TEST
            raise RunError(f"is not of this job's test ({error})", where=where) from None
        yield from metrics.figures()
    if tables := patient_tables(facts):
        yield from task.metrics(task.fine_edges()).patient_figures(tables)
