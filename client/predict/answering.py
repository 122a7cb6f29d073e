"""What a run's model says of rows: read, prepared and predicted as the evaluation of a round does it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from client.data.cache.settings import CacheTable
from client.data.kinds import Kind
from client.data.manifest.rows import Manifest, Record
from client.data.motion.steps import whole
from client.data.samples.sample_reader import Reader
from client.data.samples.site_data import Samples
from client.explain.explainer import Explainer
from client.predict.ensemble import Member, joined
from client.work.warm_networks import EVALUATION_BATCH, predictions
from shared.batch import Batch, Prediction
from shared.decisions.choice import Choice
from shared.errors import DataError, RunError
from shared.finished_run import FinishedRun, Which
from shared.further_metrics.familiar import Familiar
from shared.further_metrics.feature_moments import FEATURES, moments_of
from shared.job.schema import JobSpec
from shared.networks.build import models_of
from shared.networks.features import last_features, projected
from shared.tasks import make_task
from shared.tasks.answers import Answer
from shared.tasks.base import Models, Task
from shared.tasks.classes import LOGITS, class_logits, classified_by
from shared.tasks.fields import first_of_role

_COMPARED = 16  # images that an explanation compares with, at most
_MOST_BYTES = 2**28  # of prepared images that wait to be predicted together


@dataclass(frozen=True)
class Said:
    """A row, and what a model said of it.

    Attributes:
        kinds: Of the fields that the row has.
        answer: None where the row can't be used.
        problem: Why it can't.
    """

    record: Record
    kinds: Mapping[str, Kind]
    answer: Answer | None = None
    problem: DataError | None = None


@dataclass(frozen=True)
class Predictor:
    """A model of a run on a device, ready to be asked.

    Attributes:
        familiar: What is usual to it, so that what is not is told.
        choice: What its run chose of it on the validation patients.
    """

    job: JobSpec
    task: Task
    models: Models
    explainer: Explainer | None = None
    familiar: Familiar | None = None
    choice: Choice | None = None

    @classmethod
    def of(
        cls, run: FinishedRun, which: Which, device: torch.device, together: Sequence[Member] = ()
    ) -> Self:
        """Return a run's model as the evaluation of a round has it, or instead the mean of several.

        Raises:
            RunError: A run's file can't be used, or the runs can't be asked together.
        """
        torch.set_num_threads(run.job.training.threads)
        model = joined(together or [(run, which)], device)
        return cls(run.job, make_task(_unjudged(run.job), run.statistics), models_of(model))

    def require_answers(self) -> None:
        """Make sure that the task says something of single images.

        Raises:
            RunError: It does not.
        """
        if type(self.task).answers is Task.answers:
            raise RunError(
                f"the task '{self.job.task.name}' says nothing of single images that people could read",
                remedy="A task of a package says it in `Task.answers` (docs/extending.md).",
            )

    def answers(self, manifest: Manifest, kinds: Mapping[str, Kind]) -> Iterator[Said]:
        """Yield each row of a manifest in order, with what is said of it or why nothing can be.

        Args:
            manifest: Its records.
            kinds: Of all fields of the job; a row may lack targets.
        """
        waiting: list[Said] = []
        parts: list[Samples] = []
        for record in manifest.records:
            own = _given(record, kinds, manifest.columns)
            try:
                read = self._read(manifest, record, own)
            except DataError as error:
                yield from self._predicted(waiting, parts)
                waiting, parts = [], []
                yield Said(record, own, problem=error)
                continue
            if waiting and (own.keys() != waiting[0].kinds.keys() or _is_enough(parts)):
                yield from self._predicted(waiting, parts)
                waiting, parts = [], []
            waiting.append(Said(record, own))
            parts.append(read)
        yield from self._predicted(waiting, parts)

    def _read(self, manifest: Manifest, record: Record, kinds: Mapping[str, Kind]) -> Samples:
        source = first_of_role({name: kind.field for name, kind in kinds.items()}, "input")
        reader = Reader(manifest, self.job, kinds, source=source, cache=CacheTable(), image_filter=None)
        return reader.read([record])

    def _predicted(self, rows: list[Said], parts: list[Samples]) -> Iterator[Said]:
        if not rows:
            return
        answers: list[Answer] = []
        for batch, predicted in self.run(Samples.joined(self.job, parts)):
            answers += self.answers_of(batch, predicted)
        for row, answer in zip(rows, answers, strict=True):
            yield Said(row.record, row.kinds, answer)

    @property
    def sees_features(self) -> bool:
        """Whether answers need what the network's last layer was given."""
        return self.familiar is not None

    def run(self, samples: Samples) -> Iterator[tuple[Batch, Prediction]]:
        """Yield samples in batches, with what the networks predict; with the features (B, N) if needed.

        Raises:
            RunError: They are, and the network has no layer that sees a vector for each sample.
        """
        predicting = predictions(self.task, self.models, samples, given=True)
        if not self.sees_features:
            yield from predicting
            return
        with last_features(list(self.models.values())) as seen:
            for batch, predicted in predicting:
                if not seen:
                    raise RunError(
                        "the network ends in no linear layer, which would have features to compare"
                    )
                yield batch, {**predicted, FEATURES: seen[0].float()}

    def answers_of(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return what is said of each sample of a batch."""
        answers = self.task.answers(batch, predicted) or []
        if self.familiar is not None:
            cells = self.familiar.cells(self.projected(predicted), predicted[LOGITS])
            pairs = zip(answers, cells, strict=True)
            answers = [replace(answer, cells={**answer.cells, **own}) for answer, own in pairs]
        if self.choice is not None:
            label = classified_by(self.job)[1]
            logits = class_logits(predicted[LOGITS].cpu().double(), label).tolist()
            answers = [
                replace(answer, cells={**answer.cells, **dict(self.choice.cells(label, own))})
                for answer, own in zip(answers, logits, strict=True)
            ]
        if self.explainer is None:
            return answers
        reasons = self.explainer.reasons(self.task, self.models, batch, predicted)
        return [
            replace(answer, cells={**answer.cells, "explained": why.about}, reasons=why.maps)
            for answer, why in zip(answers, reasons, strict=True)
        ]

    def projected(self, predicted: Prediction) -> Tensor:
        """Return the features (B, N) by which images are unusual or not, as the job's sums have them."""
        return projected(predicted[FEATURES], moments_of(self.job).features, self.job.job.seed)

    def comparing(self, manifest: Manifest, kinds: Mapping[str, Kind]) -> "Predictor":
        """Return the same, whose explainer compares with images of a manifest, evenly spread over it."""
        if self.explainer is None or not self.explainer.compares:
            return self
        step = max(1, len(manifest.records) // _COMPARED)
        others: dict[str, list[Tensor]] = {
            name: [] for name, kind in kinds.items() if kind.field.kind == "image"
        }
        for record in manifest.records[::step][:_COMPARED]:
            with suppress(DataError):  # it is said where the row comes
                read = self._read(manifest, record, _given(record, kinds, manifest.columns))
                for name in others.keys() & read.columns.keys():
                    others[name].append(whole(read.columns[name][0]))
        return replace(self, explainer=replace(self.explainer, others=others))


def _unjudged(job: JobSpec) -> JobSpec:
    """Return a job without its further metrics, and so without what they need besides answers: attacks."""
    return job.model_copy(update={"evaluation": job.evaluation.model_copy(update={"metrics": []})})


def _given(record: Record, kinds: Mapping[str, Kind], columns: Iterable[str]) -> dict[str, Kind]:
    """Return the kinds of the fields that a row has: targets may be unknown, in all rows or in some."""
    there = set(columns)
    return {
        name: kind
        for name, kind in kinds.items()
        if set(kind.columns) <= there and (kind.field.role == "input" or kind.is_given(record))
    }


def _is_enough(parts: list[Samples]) -> bool:
    held = sum(
        value.numel() * value.element_size()
        for part in parts
        for column in part.columns.values()
        for value in column
        if isinstance(value, torch.Tensor)
    )
    return len(parts) >= EVALUATION_BATCH or held > _MOST_BYTES
