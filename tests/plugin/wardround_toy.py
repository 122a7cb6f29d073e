"""What Wardround has not: a linear classifier, a grading of images, a strategy that looks back, a metric."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.further_metrics.options import MetricOptions
from shared.metric_spec import MetricSpec
from shared.networks.options import Ends, VectorOptions
from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors
from shared.tasks.classification.options import Classification

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shared.arrays import Layout
    from shared.batch import Batch, Prediction
    from shared.job import JobSpec
    from shared.tasks.options import TaskOptions

LAST = "last"


class ToyLinear(VectorOptions):
    """The mean of each part of the image, and one linear layer."""

    name: Literal["toy-linear"]
    parts: int = Field(4, ge=1, le=16, description="Parts along each axis.")

    @property
    def stride(self) -> int:
        """Every part is a position."""
        return 1

    def about_numbers(self, ends: Ends) -> float:
        """One weight for each part and output."""
        return ends.outputs * (ends.channels * self.parts**ends.dimensions + 1)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from torch import nn

        pool = nn.AdaptiveAvgPool2d if ends.dimensions == 2 else nn.AdaptiveAvgPool3d
        features = ends.channels * self.parts**ends.dimensions
        return nn.Sequential(pool(self.parts), nn.Flatten(), nn.Linear(features, ends.outputs))


class ToyGrading(Classification):
    """Grades images: a classification that is judged by its accuracy alone in the table of a run."""

    name: Literal["toy-grading"]

    def metrics(self) -> tuple[MetricSpec, ...]:
        """Show the accuracy first."""
        return tuple(
            MetricSpec(spec.name, spec.lower_is_better, int(spec.name == "accuracy"), spec.classes)
            for spec in super().metrics()
        )


class ToySureness(MetricOptions):
    """The mean of the largest probability, to a power."""

    largest = 1.0

    name: Literal["toy-sureness"]
    power: int = Field(1, ge=1, le=9, description="Of each probability.")

    def problem(self, task: "TaskOptions") -> str | None:
        """See the base class."""
        return None if isinstance(task, Classification) else "is for classifications"

    def values(self, job: "JobSpec", predicted: "Prediction", batch: "Batch") -> "tuple[Tensor, None]":
        """See the base class."""
        return predicted["logits"].softmax(dim=1).amax(dim=1, keepdim=True) ** self.power, None


class ToyMemory(StrategyOptions):
    """Each site sends the mean of its model and of the one that it trained in the round before."""

    name: Literal["toy-memory"]

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """See the base class."""
        return LooksBack(layout.size)


class LooksBack(SiteHalf):
    """What a site does: it keeps its model for its next round."""

    def __init__(self, size: int) -> None:
        self.keeps = {LAST: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """See the base class."""
        model = train(received[MODEL]).model
        return {MODEL: (model + kept.get(LAST, model)) / 2}, {LAST: model}
