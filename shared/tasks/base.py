"""What a task is: how a model's output is fitted to the targets, inferred and judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.fields import fields_of, first_of_role
from shared.job import JobSpec
from shared.losses import SampleLoss, evaluation_loss, training_loss
from shared.metrics import MetricSet


class Task(ABC):
    """A kind of learning problem; one object serves one job.

    Attributes:
        job: The job that names the task.
        input: The field of a batch that the model sees.
        target: The field that it should predict.
    """

    def __init__(self, job: JobSpec) -> None:
        self.job = job
        fields = fields_of(job)
        self.input, self.target = first_of_role(fields, "input"), first_of_role(fields, "target")
        self._evaluation_loss: SampleLoss = evaluation_loss(job)

    @abstractmethod
    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty metrics, laid out the same way at every site that has the same edges.

        Args:
            edges: Of the bins of scores; None takes those of a first evaluation with as many bins as the job
                asks for.
        """

    def first_edges(self, bins: int) -> NDArray[np.float64] | None:
        """Return the edges of the bins in a first evaluation; None where the task bins no scores."""
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

    def loss(self, class_counts: NDArray[np.int64] | None) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the training loss: (logits (B, K, *S), targets) -> scalar, the mean over the images.

        Args:
            class_counts: See `shared.losses.training_loss`.

        Raises:
            ValueError: The job's loss needs the counts and they are missing or of another length.
        """
        samples = training_loss(self.job, class_counts)
        return lambda logits, targets: samples(logits, targets).mean()

    def sample_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return one loss per image (B,), without class weights: what evaluation reports."""
        return self._evaluation_loss(logits, targets)

    def forward(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run the model on images (B, C, *S) as training does; tasks adapt the sizes to the network here."""
        output: Tensor = model(images)
        return output

    def predict(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the logits of whole images (B, C, *S), without gradients; the model's mode is kept."""
        with eval_mode(model):
            return self.forward(model, images)

    def update(
        self,
        metrics: MetricSet,
        logits: Tensor,
        targets: Tensor,
        patients: Sequence[str],
        spacing: Sequence[float] | None,
    ) -> None:
        """Add a batch of predictions to the metrics.

        Args:
            metrics: What `metrics()` returned.
            logits: What `predict` returned.
            targets: On the device of the logits; shapes as for `loss`.
            patients: Name of the patient of each image.
            spacing: Millimetres along each axis of the images; None where unknown.
        """
        metrics.update(logits, targets, self.sample_losses(logits, targets), patients, spacing)
