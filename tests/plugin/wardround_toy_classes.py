"""Two tasks of classes that are subclasses of none of Wardround's: a stage of each image, an outline."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from wardround.extend import ClassesOptions, Ends, MetricSpec, SampleField

if TYPE_CHECKING:
    from wardround_toy_outline import OutlineTask

    from wardround.extend import ClassificationTask, DataTable, JobSpec

EXAMPLE: Mapping[str, Mapping[str, Any]] = {
    "task": {"classes": ["early", "late"]},
    "model": {"name": "toy-linear"},
    "data": {"size": [16, 16]},
    "training": {"local_epochs": 1},
    "strategy": {"name": "fedavg"},
}


class ToyStage(ClassesOptions):
    """Gives each image a stage, which stands in a column of its own."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "stage": SampleField("label", role="target"),
    }
    example = EXAMPLE

    name: Literal["toy-stage"]
    loss: Literal["cross-entropy"] = "cross-entropy"

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        return {**self.declared, "stage": replace(self.declared["stage"], classes=tuple(self.classes))}

    @property
    def counted(self) -> int:
        """See the base class."""
        return len(self.classes)

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """One logit per stage."""
        return {"model": Ends.of(data, len(self.classes), "vector")}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return (MetricSpec("balanced_accuracy", shown=1), MetricSpec("auroc", shown=2))

    def edges_size(self, bins: int) -> int:
        """See the base class."""
        return bins * len(self.classes)

    def build(self, job: "JobSpec") -> "ClassificationTask":
        """See the base class."""
        from wardround.extend import ClassificationTask

        return ClassificationTask(job)


class ToyOutline(ClassesOptions):
    """Gives each pixel a class; the masks stand in a column of their own, beside a new kind of field."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "outline": SampleField("mask", role="target"),
        "corner": SampleField("toy-corner"),
    }
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {**EXAMPLE, "model": {"name": "unet"}}

    name: Literal["toy-outline"]
    loss: Literal["dice-ce"] = "dice-ce"

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        outline = replace(self.declared["outline"], classes=tuple(self.classes), instances=True)
        return {**self.declared, "outline": outline}

    @property
    def counted(self) -> int:
        """See the base class."""
        return 1 + len(self.classes)

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """One logit per pixel for the background and each class."""
        return {"model": Ends.of(data, 1 + len(self.classes), "map")}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return (MetricSpec("right", shown=1), MetricSpec("spread", lower_is_better=True, shown=2))

    def build(self, job: "JobSpec") -> "OutlineTask":
        """See the base class."""
        from wardround_toy_outline import OutlineTask

        return OutlineTask(job)
