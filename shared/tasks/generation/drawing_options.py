"""What every job that draws images may say, whatever network draws them."""

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.table import Label, check_distinct
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TaskOptions


class DrawingOptions(TaskOptions):
    """Draws images like the hospitals', of a class where there are classes."""

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}

    classes: list[Label] = Field(
        [],
        max_length=256,
        examples=[["benign", "malignant"]],
        description="Values of the column `label`; with them, images of a class are drawn.",
    )
    features: int = Field(
        16, ge=2, le=64, description="Numbers of an image that the Fréchet distance compares."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct("classes", self.classes)
        if len(self.classes) == 1:
            raise ValueError("classes: one class says nothing; give two or more, or none")
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class; a label is what an image is drawn for, and predicted by nobody."""
        if not self.classes:
            return self.declared
        return {**self.declared, "label": SampleField("label", classes=tuple(self.classes))}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return (MetricSpec("frechet", lower_is_better=True, shown=1),)

    @property
    def subject(self) -> str:
        """See the base class."""
        return (
            f"images like those of {', '.join(self.classes)}"
            if self.classes
            else "images like the hospitals'"
        )
