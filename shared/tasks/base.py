"""What a task is: what its networks learn from a batch, what they predict, and how that is judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer
from shared.tasks.explained import Explained
from shared.tasks.fields import fields_of
from shared.tasks.look import Look
from shared.tasks.options import TRAIN
from shared.tasks.programs import Input, Program

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

__all__ = ["TEACHER", "TRAIN", "Batch", "Loss", "Models", "Phase", "Prediction", "Statistics", "Task"]

Models = Mapping[str, nn.Module]
"""The networks of a job by their role: of `TaskOptions.networks`; `model` where there is one."""

TEACHER = "teacher."
"""Before the role of a network that teaches; see `Task.teacher_decay`."""

Loss = Callable[[Models, Batch], Tensor]
"""See `Phase.loss`."""

Statistics = Mapping[str, NDArray[Any]]
"""What was counted before the first round, by name, such as the images of each class."""


@dataclass(frozen=True)
class Phase:
    """One optimiser, and what it minimises. Each step of training draws a batch and goes through the phases.

    Attributes:
        name: As the job may name it: `[training.NAME]`.
        networks: Roles of the networks whose parameters it changes. Gradients that reach others are dropped.
        loss: (models, batch) -> (B,), one loss per sample, which depends on no other sample; or a scalar
            where `per_sample` is False. What is minimised is its mean.
        per_sample: Where it is False the phase can't be trained with differential privacy.
        sees_data: Where it is False, the batch has nothing of the samples, but only what `Task.prepare` adds
            to an empty one; so the phase costs no privacy.
    """

    name: str
    networks: tuple[str, ...]
    loss: Loss
    per_sample: bool = True
    sees_data: bool = True


class Task(ABC):
    """A kind of learning problem; one object serves one job.

    It declares what is computed and holds no state of a training: optimisers, clipping, precision, schedules
    and privacy are the trainers'.

    Attributes:
        job: The job that names the task.
        roles: Of its networks.
        targets: The fields that are to be predicted. Every other one is an input.
        statistics: Sums over all sites that the job asks for (`TaskOptions.statistics`), and for a training
            the `CLASS_COUNTS` that its loss needs: set by whoever runs the networks, before anything is
            prepared.
    """

    def __init__(self, job: "JobSpec") -> None:
        self.job = job
        self.statistics: Statistics = {}
        self.roles = tuple(job.task.networks(job.data))
        self.targets = frozenset(name for name, own in fields_of(job).items() if own.role == "target")

    def knowing(self, statistics: Statistics) -> Self:
        """Return the task with the sums of all sites; this one stays as it is."""
        task = copy(self)
        task.statistics = statistics
        return task

    def known(self, name: str) -> NDArray[Any]:
        """Return a statistic of all sites.

        Raises:
            ValueError: It was not set.
        """
        if name not in self.statistics:
            raise ValueError(f"the statistic '{name}' of all sites is not known")
        return self.statistics[name]

    def measure(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return what samples add to the moments and histograms of `TaskOptions.statistics`.

        Args:
            batch: As it was read, in main memory.

        Returns:
            By the name of the statistic: a value of each sample and column (B, K), a single column for a
            histogram; not a number where it is not known, or not to be counted.
        """
        return {}

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Return a batch with what is drawn for it: noise, masks, a second view. Here, as it is.

        It is called in main memory, before the batch goes to the device. What is drawn by `batch.seeds(seed)`
        does not depend on how samples are batched; in private training each sample comes alone. For a phase
        that sees no data the batch has no fields, and `len(batch)` says how many samples are to be drawn.

        Args:
            batch: With the fields of the samples.
            seed: Another one for each step of training; one for all evaluations of a job.
        """
        return batch

    def prepare_given(self, batch: Batch, seed: int) -> Batch:
        """Return a batch of somebody's own images, to be answered: here as for a test.

        A task that spoils images, so that networks learn to restore them, leaves these as they are.
        """
        return self.prepare(batch, seed)

    @property
    def teacher_decay(self) -> float | None:
        """Share that each step leaves of a teacher, 1 for one that stays; None where the task has none.

        A teacher is the networks as they were when the round began, following their steps. A loss finds them
        by `TEACHER` before their role; they are in evaluation mode, and are neither trained nor sent.
        """
        return None

    def phases(self) -> Sequence[Phase]:
        """Return what a step of training does, in order: here one phase, for all networks and `losses`.

        Returns:
            Those of `TaskOptions.phases`, in the same order; `self.phase` makes one.

        Raises:
            ValueError: A statistic is missing, or has another shape.
        """
        return (self.phase(TRAIN, self.losses),)

    def phase(self, name: str, loss: Loss) -> Phase:
        """Return a phase as `TaskOptions.phases` describes it.

        Args:
            name: Of the phase.
            loss: What it minimises.
        """
        spec = {spec.name: spec for spec in self.job.task.phases(self.job.data)}[name]
        return Phase(name, spec.networks, loss, spec.mixes is None, spec.sees_data)

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """Return what training minimises, (B,): here what evaluation reports."""
        return self.sample_losses(models, batch, self.forward(models, batch))

    @abstractmethod
    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Run the networks on a batch as training does, with gradients."""

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Run the networks on a batch as it is judged, without gradients; the networks' modes are kept."""
        with eval_mode(*models.values()):
            return self.forward(models, batch)

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer] | None:
        """Return what people read of each sample; None where the task says nothing of single ones.

        Args:
            batch: Prepared; it may lack the targets.
            predicted: What `predict` returned for it.
        """
        return None

    def explained(self, predicted: Prediction, of: str | None = None) -> Sequence[Explained]:
        """Return for each sample what explanations are about; nothing where a task has no such number.

        Args:
            predicted: What `predict` returned.
            of: A class; None takes what is predicted.

        Raises:
            RunError: There is no such class.
        """
        return ()

    def program(self, models: Models) -> Program | None:
        """Return what is exported of the networks; None where the task has nothing of use elsewhere."""
        return None

    def draw(self, models: Models, count: int, seed: int) -> Tensor | None:
        """Return images of nobody (count, C, *S) for people to look at; None where the task draws none."""
        return None

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """Return what a person is shown of each sample beside its image; nothing where a task draws none.

        Args:
            predicted: What `predict` returned.
            batch: Prepared, with its targets.
        """
        return ()

    def image_input(self) -> Input:
        """Return an input that is the job's first image, as it is prepared; of a patch's size, if any."""
        data = self.job.data
        size = data.patch or data.size or []  # a job of images has one of them
        return Input((data.channels, *size), "the image, prepared as preprocessing.json says")

    @abstractmethod
    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return one loss per sample, (B,): what evaluation reports, and attacks look at.

        Args:
            models: For what the prediction does not tell.
            batch: Prepared.
            predicted: What `predict` or `forward` returned for it.
        """

    @abstractmethod
    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty metrics, laid out the same way at every site that has the same edges.

        Args:
            edges: Of the bins of scores; None takes those of a first evaluation with as many bins as the job
                asks for.
        """

    def update(self, metrics: MetricSet, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch to the metrics.

        Args:
            metrics: What `metrics()` returned.
            predicted: What `predict` returned.
            batch: Prepared, on the device of the prediction.
            losses: (B,), what `sample_losses` returned.
        """
        metrics.update(predicted, batch, losses)
        metrics.add_further(predicted, batch)

    def first_edges(self, bins: int) -> NDArray[np.float64] | None:
        """Return the edges of the bins in a first evaluation; None where the task bins no scores."""
        return None

    def fine_edges(self) -> NDArray[np.float64] | None:
        """Return the edges for a test whose scores leave nobody; None takes those of a first evaluation."""
        return None

    @property
    def most_bins(self) -> int:
        """Largest number of bins that a site's scores leave in; 1 where the task bins none."""
        return 1 if self.first_edges(1) is None else self.job.evaluation.bins

    def check_edges(self, edges: NDArray[np.generic] | None, most: int) -> NDArray[np.float64] | None:
        """Return edges that came from elsewhere, at most `most` bins; those of a first one for None.

        Raises:
            ValueError: They are not what the task needs.
        """
        if edges is not None:
            raise ValueError("edges of bins: the task has no scores to bin")
        return None
