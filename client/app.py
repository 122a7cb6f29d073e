"""The Flower ClientApp of a site: describe its data, train, evaluate.

The same app runs in a simulation and in a hospital. What a job may do is decided here, by the site's own
configuration; nothing in a message is executed.
"""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import nn

from client.data.dataset import Samples, SiteData
from client.data.preprocess import ImageFilter
from client.site import SiteConfig
from client.training import LocalTraining, diverged
from shared import messages
from shared.arrays import Layout
from shared.errors import DataError, JobError, WardroundError
from shared.job import JobSpec, parse_job
from shared.models import build_model
from shared.tasks import Task, make_task

_EVALUATION_BATCH = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """A job made ready: its network, with the layout of the vector that travels."""

    job: JobSpec
    task: Task
    model: nn.Module
    layout: Layout


class Workshop:
    """The networks of the jobs at hand, kept warm. Sites simulated in one process share it.

    Args:
        device: Where models are built.
        keep: Number of jobs kept; the least recently used one goes first.
    """

    def __init__(self, device: torch.device, keep: int = 2) -> None:
        self.device = device
        self._keep = keep
        self._benches: OrderedDict[str, Bench] = OrderedDict()

    def bench(self, canonical: str) -> Bench:
        """Return the bench for a job given as canonical JSON; its weights are whatever was loaded last.

        Raises:
            JobError: The text is no valid job, or not in canonical form.
        """
        if canonical not in self._benches:
            job = _read_job(canonical)
            task = make_task(job)
            model = build_model(job, task.outputs, job.job.seed).to(self.device)
            if job.data.dimensions == 2:  # 1.1 to 1.6 times as fast on a CPU, more on a GPU
                model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._benches[canonical] = Bench(job, task, model, Layout.of(model))
            if len(self._benches) > self._keep:
                self._benches.popitem(last=False)
        self._benches.move_to_end(canonical)
        return self._benches[canonical]


def _read_job(canonical: str) -> JobSpec:
    try:
        table = json.loads(canonical)
    except ValueError:
        raise JobError("the job is not valid JSON") from None
    if not isinstance(table, dict):
        raise JobError("the job is not a JSON object")
    job = parse_job(table, "the job received")
    if job.canonical() != canonical:
        raise JobError(
            "the job is not in canonical form", remedy="Coordinator and site must run one version."
        )
    return job


class Site:
    """A hospital at work: its data of the current job, and what it answers.

    Args:
        config: What the hospital offers and allows.
        workshop: Where its networks are.
        image_filter: Applied to every image as read; a simulated scanner.
        explain: Let errors name patients and files. Only a simulation does: in a hospital they stay inside.
    """

    def __init__(
        self,
        config: SiteConfig,
        workshop: Workshop,
        image_filter: ImageFilter | None = None,
        *,
        explain: bool = False,
    ) -> None:
        self.config = config
        self.explain = explain
        self._workshop = workshop
        self._filter = image_filter
        self._data: tuple[str, SiteData] | None = None

    def data(self, job: JobSpec) -> SiteData:
        """Return the site's data for a job, kept until another job asks.

        Raises:
            SiteError: The site offers no such dataset, or its policy refuses the job.
            DataError: The manifest or an image can't be used.
        """
        self.config.admit(job)
        digest = job.digest()
        if self._data is None or self._data[0] != digest:
            dataset = self.config.dataset(job.job.dataset)
            data = SiteData.load(
                dataset.manifest,
                job,
                site=self.config.name,
                column_value=dataset.site,
                cache=self.config.cache,
                image_filter=self._filter,
            )
            self._data = (digest, data)
        return self._data[1]

    def describe(self, canonical: str) -> messages.Description:
        """Count what the site has for a job; images are read only where the job weighs classes."""
        job = _read_job(canonical)
        data = self.data(job)
        counts = data.class_counts().tolist() if job.training.class_weights == "federation" else []
        return messages.Description(self.config.name, data.patients, data.examples, tuple(counts))

    def train(self, request: messages.Request) -> messages.Update:
        """Train the global model on the site's data for one round."""
        start = time.perf_counter()
        bench = self._load(request)
        data = self.data(bench.job)
        samples = data.split("train")
        torch.set_num_threads(bench.job.training.threads)
        training = LocalTraining(
            bench.model,
            bench.task,
            samples,
            bench.job,
            site=self.config.name,
            device=self._workshop.device,
            class_counts=class_counts(bench.job, data, request.class_counts),
        )
        trained = training.run(request.round, request.proximal_mu)
        vector = bench.layout.pack(bench.model)
        if not np.isfinite(vector).all():  # the last step, after which no loss was computed
            raise diverged(self.config.name, request.round, trained.steps)
        return messages.Update(vector, len(samples), trained.loss, time.perf_counter() - start)

    def evaluate(self, request: messages.Request) -> messages.Evaluation:
        """Evaluate the global model on a split of the site's data."""
        start = time.perf_counter()
        if not request.split:
            raise messages.MessageError("names no split to evaluate", where=self.config.name)
        bench = self._load(request)
        samples = self.data(bench.job).split(request.split)
        torch.set_num_threads(bench.job.training.threads)
        states = evaluate(bench, samples)
        return messages.Evaluation(states, len(samples), time.perf_counter() - start)

    def _load(self, request: messages.Request) -> Bench:
        bench = self._workshop.bench(request.job)
        if bench.layout.digest() != request.layout:
            raise JobError(
                "the model has another layout here than at the coordinator",
                where=self.config.name,
                remedy="Coordinator and site must run the same version of Wardround.",
            )
        try:
            bench.layout.unpack(request.vector, bench.model)
        except ValueError as error:
            raise messages.MessageError(str(error), where=self.config.name) from None
        return bench


def class_counts(
    job: JobSpec, data: SiteData, federation: tuple[int, ...] | None
) -> NDArray[np.int64] | None:
    """Return the class counts that the job's loss needs, or None.

    Args:
        job: Says whether its loss weighs classes, and by whose counts.
        data: The site's own.
        federation: The counts of all sites; None where there is no federation, then the site's own serve.
    """
    if job.training.class_weights == "federation" and federation is not None:
        if len(federation) != len(data.class_counts()):
            raise messages.MessageError(f"carries the counts of {len(federation)} classes")
        return np.asarray(federation, dtype=np.int64)
    if job.training.class_weights != "none" or job.training.loss == "balanced-softmax":
        return data.class_counts()
    return None


def evaluate(bench: Bench, samples: Samples) -> NDArray[np.float64]:
    """Return the packed metric states of a model on samples."""
    metrics = bench.task.metrics()
    device = next(bench.model.parameters()).device
    for indices in samples.batches(_EVALUATION_BATCH):
        batch = samples.batch(indices)
        logits = bench.task.predict(bench.model, batch.images.to(device))
        bench.task.update(metrics, logits, batch.targets.to(device), batch.patients, batch.spacing)
    return metrics.pack()


def make_app(site: Site) -> ClientApp:
    """Return the ClientApp that serves a site."""
    app = ClientApp()

    @app.query(messages.DESCRIBE)
    def describe(message: Message, _: Context) -> Message:
        return _answer(site, message, _describe)

    @app.train()
    def train(message: Message, _: Context) -> Message:
        return _answer(site, message, _train)

    @app.evaluate()
    def evaluate(message: Message, _: Context) -> Message:
        return _answer(site, message, _evaluate)

    return app


def _describe(site: Site, content: RecordDict) -> RecordDict:
    return messages.describe_reply(site.describe(messages.read_job(content)))


def _train(site: Site, content: RecordDict) -> RecordDict:
    return messages.train_reply(site.train(messages.read_request(content)))


def _evaluate(site: Site, content: RecordDict) -> RecordDict:
    return messages.evaluate_reply(site.evaluate(messages.read_request(content)))


def _answer(site: Site, message: Message, work: Callable[[Site, RecordDict], RecordDict]) -> Message:
    """Reply with the work's result, or with an error that says what a person can do."""
    try:
        return Message(work(site, message.content), reply_to=message)
    except DataError as error:
        reason = str(error) if site.explain else "its data can't be used for this job; see the site's log"
        _log.warning("%s: %s", site.config.name, error)
        return Message(Error(messages.SITE_ERROR, reason), reply_to=message)
    except WardroundError as error:
        return Message(Error(messages.SITE_ERROR, str(error)), reply_to=message)
