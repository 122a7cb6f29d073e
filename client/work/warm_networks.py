"""The networks of the jobs that a site serves, made ready and kept warm."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from flwr.app import RecordDict
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import nn

from client.data.samples.site_data import Samples
from client.training.compiler import keep_kernels_in, users_cache
from client.training.flat_parameters import FlatParameters
from client.training.loop import place_model
from client.work.start_store import StartStore
from shared.batch import Batch, Prediction
from shared.errors import JobError
from shared.job.model_size import model_size
from shared.job.schema import JobSpec, parse_job
from shared.job_parts import counts_are_sent
from shared.metrics.grouped import GroupedMetrics
from shared.networks.build import Files, build_model, models_of
from shared.networks.frozen_parts import trainable
from shared.privacy.filters import UpdateFilter
from shared.recent import Recent
from shared.seeds import seed_of
from shared.strategies.vectors import SiteHalf
from shared.strategies.wire import Wire
from shared.tasks import make_task
from shared.tasks.base import Models, Statistics, Task
from shared.wire.packed_model import ModelState

EVALUATION_BATCH = 32
"""Samples of a batch that is judged, at most."""
JOBS_AT_HAND = 4
"""Jobs whose networks and data are kept: those of the runs that are being served side by side."""


@dataclass(frozen=True)
class Bench:
    """A job made ready: its network with its state, the site's half of the strategy, and what is sent.

    Attributes:
        own: The numbers of the first model that do not travel with each.
        lacks: SHA-256 of the files of weights that the job starts from, whose numbers are not yet in `own`.
        lay_out: Returns the network's trainable parameters, laid out once for all rounds of local training.
    """

    job: JobSpec
    task: Task
    model: nn.Module
    state: ModelState
    wire: Wire
    half: SiteHalf
    own: NDArray[np.float32]
    lacks: Collection[str]
    filter: UpdateFilter
    lay_out: Callable[[], FlatParameters]

    def knowing(self, statistics: Statistics) -> "Bench":
        """Return the bench with the sums of all sites, as a request brings them; the network is the same."""
        return replace(self, task=self.task.knowing(statistics))

    @property
    def models(self) -> Models:
        """The networks by their role in the task."""
        return models_of(self.model)

    @property
    def parameters(self) -> FlatParameters:
        """The network's trainable parameters, laid out."""
        return self.lay_out()


class Workshop:
    """The networks of the jobs at hand, kept warm. Sites simulated in one process share it.

    Args:
        device: Where models are built.
        keep: Number of jobs kept; the least recently used one goes first.
        kernels: Folder of compiled kernels; None takes the one that all runs of this user share.
        starts: Weights that jobs start from; without it each message brings them.
    """

    def __init__(
        self,
        device: torch.device,
        keep: int = JOBS_AT_HAND,
        kernels: Path | None = None,
        starts: StartStore | None = None,
    ) -> None:
        self.device = device
        self.starts = starts or StartStore()
        self._kernels = kernels
        self._benches: Recent[str, Bench] = Recent(keep)

    def bench(self, canonical: str) -> Bench:
        """Return the bench for a job given as canonical JSON; its weights are whatever was loaded last.

        Raises:
            JobError: The text is not a valid job, or not in canonical form.
            SiteError: The folder of compiled kernels can't be used.
        """
        if canonical not in self._benches:
            self._benches[canonical] = self._made_ready(read_job(canonical))
        return self._benches[canonical]

    def begin(self, canonical: str, content: RecordDict) -> None:
        """Put into a job's network what files of weights give to it, once.

        Args:
            canonical: The job.
            content: Of the message that may bring the files.

        Raises:
            WardroundError: As `bench` and `StartStore.take`.
        """
        bench = self.bench(canonical)
        if bench.lacks:
            files = self.starts.take(bench.lacks, content)
            self._benches[canonical] = self._made_ready(bench.job, files)

    def _made_ready(self, job: JobSpec, files: Files | None = None) -> Bench:
        if job.training.compile:
            keep_kernels_in(self._kernels or users_cache())
        task = make_task(job)
        model = place_model(build_model(job, files=files), job, self.device)
        state, wire = ModelState(model), Wire.of(model, job.strategy)
        own = state.pack()[wire.own] if wire.own.size else np.empty(0, np.float32)
        half = job.strategy.site(wire.model, wire.personal)
        update_filter = UpdateFilter(job.update, partial(counts_are_sent, job), wire.layout)
        lay_out = cache(lambda: FlatParameters(trainable(model)))
        lacks = model_size(job).once.keys() - (files or {}).keys()
        return Bench(job, task, model, state, wire, half, own, sorted(lacks), update_filter, lay_out)


@lru_cache(maxsize=8)
def read_job(canonical: str) -> JobSpec:
    """Return a job that came as canonical JSON.

    Raises:
        JobError: The text is not a valid job, or not in canonical form.
    """
    try:
        table = json.loads(canonical)
    except (ValueError, RecursionError):
        raise JobError("the job is not valid JSON") from None
    if not isinstance(table, dict):
        raise JobError("the job is not a JSON object")
    try:
        job = parse_job(table, "the job received")
    except JobError as error:  # whoever submitted it learns from it which site has to be upgraded
        problem = f"{error.problem} (this site has Wardround {version('wardround')})"
        raise JobError(problem, where=error.where, remedy=error.remedy) from None
    if job.canonical() != canonical:
        raise JobError(
            "the job is not in canonical form", remedy="Coordinator and site must run one version."
        )
    return job


def evaluate(
    bench: Bench,
    samples: Samples,
    edges: NDArray[np.float64] | None = None,
    *,
    split: str = "",
    groups: Mapping[str, Collection[str]] | None = None,
) -> GroupedMetrics:
    """Return the metrics of a model on samples.

    Args:
        bench: Has the model.
        samples: Of a split.
        edges: Of the bins, as for `Task.metrics`.
        split: Which one; a test is judged in groups of patients too, where the job asks for it.
        groups: The patients of those that are judged, by name; others stay empty.
    """
    metrics = GroupedMetrics.of(bench.task, edges, split)
    with eval_mode(bench.model):
        for batch, predicted in predictions(bench.task, bench.models, samples):
            losses = bench.task.sample_losses(bench.models, batch, predicted)
            bench.task.update(metrics.whole, predicted, batch, losses)
            for name, patients in (groups or {}).items():
                places = [place for place, patient in enumerate(batch.patients) if patient in patients]
                if places:
                    some = {what: values[places] for what, values in predicted.items()}
                    bench.task.update(metrics.groups[name], some, batch.chosen(places), losses[places])
    return metrics


def mean_loss(bench: Bench, samples: Samples) -> float:
    """Return the mean loss of a model on samples."""
    total = 0.0
    with eval_mode(bench.model):
        for batch, predicted in predictions(bench.task, bench.models, samples):
            total += float(bench.task.sample_losses(bench.models, batch, predicted).double().sum())
    return total / len(samples)


def predictions(
    task: Task, models: Models, samples: Samples, *, given: bool = False
) -> Iterator[tuple[Batch, Prediction]]:
    """Yield all samples in batches, prepared and on the device of the networks, and what these predict.

    Args:
        task: Of the networks.
        models: They.
        samples: What they are shown.
        given: Whether images are somebody's own, to be taken as they are, and not a test.
    """
    prepare = task.prepare_given if given else task.prepare
    device = next(next(iter(models.values())).parameters()).device
    seed = seed_of(task.job.job.seed, "evaluate")
    for indices in samples.batches(EVALUATION_BATCH):
        prepared = prepare(samples.batch(indices), seed)
        batch = prepared.each(lambda _, value: value.to(device))
        yield batch, task.predict(models, batch)
