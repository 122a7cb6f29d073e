"""What Wardround has not: a linear classifier, two tasks, a strategy that looks back, a metric."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from wardround.extend import (
    MODEL,
    Classification,
    Ends,
    MetricOptions,
    MetricSpec,
    PhaseSpec,
    SampleField,
    SiteHalf,
    StrategyOptions,
    TaskOptions,
    Train,
    VectorOptions,
    Vectors,
)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from wardround_toy_pair import PairTask

    from wardround.extend import Batch, DataTable, JobSpec, Layout, Prediction

LAST = "last"


class ToyLinear(VectorOptions):
    """The mean of each part of the image, and one linear layer."""

    name: Literal["toy-linear"]
    parts: int = Field(4, ge=1, le=16, description="Parts along each axis.")
    tied: bool = Field(False, description="A further layer stands in it twice.")

    @property
    def stride(self) -> int:
        """Every part is a position."""
        return 1

    def about_numbers(self, ends: Ends) -> float:
        """One weight for each part and output; of what is tied nothing is said, as some packages would."""
        return ends.outputs * (ends.channels * self.parts**ends.dimensions + 1)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from torch import nn

        pool = nn.AdaptiveAvgPool2d if ends.dimensions == 2 else nn.AdaptiveAvgPool3d
        features = ends.channels * self.parts**ends.dimensions
        shared = nn.Linear(features, features)
        twice = [shared, nn.Tanh(), shared] if self.tied else []
        return nn.Sequential(pool(self.parts), nn.Flatten(), *twice, nn.Linear(features, ends.outputs))


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


class ToyPair(TaskOptions):
    """A generator of images, and a discriminator that tells them from the hospitals' (Goodfellow 2014)."""

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {},
        "model": {"generator": {"name": "toy-linear"}, "discriminator": {"name": "toy-linear"}},
        "data": {"size": [16, 16]},
        "training": {"local_steps": 10, "discriminator": {"learning_rate": 1e-4}},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "loss"},
    }

    name: Literal["toy-pair"]
    both_see: bool = Field(False, description="The generator is also held to the mean of the images.")
    blind: bool = Field(False, description="Neither phase sees an image: both learn from noise.")
    in_pairs: bool = Field(False, description="The discriminator compares the images of a batch.")

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """Images are drawn as large as those that are judged."""
        pixels = data.channels
        for side in data.size or []:
            pixels *= side
        return {"generator": Ends.of(data, pixels, "vector"), "discriminator": Ends.of(data, 1, "vector")}

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """The discriminator learns first; the generator sees no image but through it."""
        mixes = "compares the images of a batch" if self.in_pairs else None
        return (
            PhaseSpec("discriminator", ("discriminator",), mixes=mixes, sees_data=not self.blind),
            PhaseSpec("generator", ("generator",), sees_data=self.both_see),
        )

    def metrics(self) -> tuple[MetricSpec, ...]:
        """How real generated images look."""
        return (MetricSpec("fooled", shown=1),)

    @property
    def subject(self) -> str:
        """See the base class."""
        return "images like those of the hospitals"

    def build(self, job: "JobSpec") -> "PairTask":
        """See the base class."""
        from wardround_toy_pair import PairTask

        return PairTask(job)


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
