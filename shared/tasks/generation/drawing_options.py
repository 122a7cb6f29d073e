"""What every job that draws images may say, whatever network draws them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.table import Label, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TaskOptions

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

KERNEL = "kernel"
_MOST_OF_KERNEL = 32  # features: each three of them are a number of every image


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
    kernel_distance: bool = later_key(
        False,
        description="Report the kernel distance (KID) beside the Fréchet distance: as exact of few images as "
        "of many. Sites then add up the products of each three features.",
    )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        if self.kernel_distance and self.features > _MOST_OF_KERNEL:
            yield f"[task] features: must be at most {_MOST_OF_KERNEL} with kernel_distance"

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
        frechet = MetricSpec("frechet", lower_is_better=True, shown=1)
        return (
            (frechet, MetricSpec(KERNEL, lower_is_better=True, shown=2))
            if self.kernel_distance
            else (frechet,)
        )

    @property
    def subject(self) -> str:
        """See the base class."""
        return (
            f"images like those of {', '.join(self.classes)}"
            if self.classes
            else "images like the hospitals'"
        )
