"""What is usual to a run's model: from the sums of its test, or from images of the hospital's own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from client.data.kinds import Kind
from client.data.manifest.rows import Manifest
from client.predict.answering import Predictor
from shared.batch import Batch, Prediction
from shared.errors import DataError, RunError
from shared.finished_run import FinishedRun
from shared.further_metrics.familiar import Familiar
from shared.further_metrics.feature_moments import FEATURES, FeatureMoments, moments_of
from shared.job.schema import JobSpec
from shared.metrics.states import Mean
from shared.run_folder import TEST
from shared.tasks import make_task
from shared.tasks.answers import Answer


def asks_what_is_usual(job: JobSpec) -> bool:
    """Say whether a job asks for the sums from which follows what is usual."""
    return any(isinstance(own, FeatureMoments) for own in job.evaluation.metrics)


def familiar_of(run: FinishedRun) -> Familiar | None:
    """Return what was usual in the test; None where the job does not ask, or no hospital told its sums.

    Raises:
        RunError: The file of the test is damaged.
    """
    file = run.path / TEST
    if not asks_what_is_usual(run.job) or not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if not told:
            return None
        edges = None if told["edges"] is None else np.array(told["edges"], np.float64)
        metrics = make_task(run.job, run.statistics).metrics(edges)
        metrics.merge(np.array(told["federation"], np.float64))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"can't be read as the states of a test ({error})", where=file) from None
    asked = moments_of(run.job)
    sums = metrics.metrics[asked.name]
    assert isinstance(sums, Mean)  # noqa: S101 (as of every metric that a job asks for)
    columns = sums.total / sums.count
    return None if columns.isnan().all() else Familiar.of(asked, run.job.task, columns)


def usual_here(predictor: Predictor, manifest: Manifest, kinds: Mapping[str, Kind]) -> Familiar:
    """Return what is usual in labelled images of a manifest; nothing of it leaves.

    Raises:
        RunError: The job gives images no single class.
        DataError: No row can be used.
    """
    job, asked = predictor.job, moments_of(predictor.job)
    if (problem := asked.problem(job.task)) is not None:
        raise RunError(f"what is usual {problem}, not for {job.task.name}", where="--usual")
    collector = _Collector(job, predictor.task, predictor.models, mean=Mean(asked.columns(job.task)))
    problems = [said.problem for said in collector.answers(manifest, kinds) if said.problem is not None]
    if not collector.mean.count.any():
        raise problems[0] if problems else DataError("has no rows with a label", where=manifest.path)
    return Familiar.of(asked, job.task, collector.mean.compute())


@dataclass(frozen=True)
class _Collector(Predictor):
    """Adds up what rows with a label say of their features."""

    mean: Mean = field(default_factory=Mean)

    @property
    def sees_features(self) -> bool:
        """See the base class."""
        return True

    def answers_of(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """See the base class: nothing is said of single rows."""
        if self.task.targets <= batch.values.keys():
            known = {**predicted, FEATURES: self.projected(predicted)}
            self.mean.update(*moments_of(self.job).values(self.job, known, batch))
        return [Answer({}) for _ in range(len(batch))]
