"""Metrics of what is learnt from images alone, whose states add up over sites."""

from typing import TYPE_CHECKING, ClassVar, cast

from torch import Tensor
from torch.nn import functional

from shared.batch import Batch, Prediction
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, bounded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

LARGEST_ERROR = 2.0**10  # a squared error above it counts as this
ERRORS = "errors"
"""Name of what is predicted: (B, 2), the mean squared error of the network's answer, and of a single grey."""
FIRST, SECOND = "first", "second"
"""Names of the projections (B, N) of two views."""


class RebuiltMetrics(MetricSet):
    """How well images are put together again, beside what one grey for all of their pixels would do.

    Args:
        job: What is judged.
    """

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job, {"loss": Mean(), ERRORS: Mean(2)})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch."""
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add(ERRORS, batch.patients, bounded(predicted[ERRORS], LARGEST_ERROR))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if state != "total":
            return 1.0
        return LARGEST_LOSS if name == "loss" else LARGEST_ERROR

    def report(self) -> dict[str, float]:
        """See the base class."""
        error, blank = self.metrics[ERRORS].compute().tolist()
        return {
            "loss": float(self.metrics["loss"].compute()),
            "explained": 1 - error / blank if blank > 0 else float("nan"),
            "rebuilt_error": error,
            "rebuilt_error_blank": blank,
        }


class ContrastMetrics(MetricSet):
    """How alike two views of an image are, and two images.

    The mean likeness (cosine) of all pairs of two images, also of those of two hospitals, follows from sums,
    whoever has the images: with d the mean of an image's two views of length 1, the squared length of the sum
    of all N is the sum over the N (N - 1) ordered pairs, and of each image with itself, (1 + cosine of its
    views) / 2.

    Args:
        job: What is judged.
        projections: Numbers of a view.
    """

    signed: ClassVar[frozenset[str]] = frozenset({"views", "directions"})

    def __init__(self, job: "JobSpec", projections: int) -> None:
        super().__init__(job, {"loss": Mean(), "views": Mean(), "directions": Mean(projections)})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch."""
        first, second = (functional.normalize(predicted[name].double(), dim=1) for name in (FIRST, SECOND))
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add("views", batch.patients, bounded((first * second).sum(1, keepdim=True), 1.0))
        self.add("directions", batch.patients, bounded((first + second) / 2, 1.0))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        return LARGEST_LOSS if (name, state) == ("loss", "total") else 1.0

    def report(self) -> dict[str, float]:
        """See the base class."""
        views = float(self.metrics["views"].compute())
        images = self._of_images(views)
        return {
            "loss": float(self.metrics["loss"].compute()),
            "contrast": views - images,
            "likeness_of_views": views,
            "likeness_of_images": images,
        }

    def _of_images(self, views: float) -> float:
        directions = cast(Mean, self.metrics["directions"])
        number = int(directions.count[0])
        if number < 2:
            return float("nan")
        own = number * (1 + views) / 2
        return (float(directions.total.square().sum()) - own) / (number * (number - 1))
