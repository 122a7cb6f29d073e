"""A network and a task that Wardround has not: a linear classifier, and a grading of images."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.metric_spec import MetricSpec
from shared.networks.options import Ends, VectorOptions
from shared.tasks.classification.options import Classification

if TYPE_CHECKING:
    from torch import nn


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
