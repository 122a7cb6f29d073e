"""What a job may say about a detection."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.networks.options import Output
from shared.table import Label, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TRAIN, Classes, PhaseSpec, TaskOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.detection.task import DetectionTask

DETECTOR, REDUCER = "detector", "reducer"
"""Roles, and phases, of two networks, of which the second judges what the first has found."""


class Detection(TaskOptions):
    """Finds objects, each with a box and a class."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "boxes": SampleField("boxes", role="target"),
    }
    takes_patches = True
    example: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "task": {"classes": ["nodule"]},
        "model": {"name": "unet"},
        "data": {"size": [128, 128]},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "ap30"},
    }

    name: Literal["detection"]
    classes: Classes = Field(description="What the boxes are of.")
    boxes: list[Label] = Field(
        ["boxes"],
        min_length=1,
        max_length=7,
        description="Where the boxes are: a column of the manifest, a table beside it (`boxes.csv`), or one "
        "column for each number (x0, y0, x1, y1[, z0, z1][, class]).",
    )
    method: Literal["centres", "anchors"] = later_key(
        "centres",
        description="What finds boxes: a map with peaks at their centres (any network that gives a map), or "
        "anchors ('retinanet').",
    )
    stride: Literal[1, 2, 4] = Field(
        2, description="Pixels along each axis of a cell, in which one object of a class can be."
    )
    false_positive_reduction: bool = later_key(
        False,
        examples=[True],
        description="Whether a second network, [model.reducer], looks at what is around each box that "
        "[model.detector] has found, and takes part in its score (Setio et al. 2017). For method 'centres'.",
    )
    crop: int = later_key(
        16,
        ge=8,
        le=256,
        examples=[24],
        description="Pixels along each axis to which the surroundings of a box are brought for the reducer.",
    )
    most_boxes: int = Field(50, ge=1, le=1000, description="Boxes found in an image, at most.")
    largest_overlap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Intersection over union with a better box of its class above which one is left out.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct("classes", self.classes)
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        boxes = replace(self.declared["boxes"], columns=tuple(self.boxes), classes=tuple(self.classes))
        return {**self.declared, "boxes": boxes}

    @property
    def subject(self) -> str:
        """See the base class."""
        twice = ", by two networks one after the other" if self.false_positive_reduction else ""
        return f"detection of {', '.join(self.classes)}{twice}"

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """One logit for each class, and the place and the size of an object along each axis."""
        gives: Output = "boxes" if self.method == "anchors" else "map"
        ends = Ends.of(data, len(self.classes) + 2 * data.dimensions, gives)
        if not self.false_positive_reduction:
            return {"model": ends}
        crop = [self.crop] * data.dimensions
        seen = Ends(data.dimensions, data.channels, len(self.classes), crop, "vector")
        return {DETECTOR: ends, REDUCER: seen}

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """See the base class: each network learns by itself, the second from what the first finds."""
        roles = tuple(self.networks(data))
        if not self.false_positive_reduction:
            return (PhaseSpec(TRAIN, roles),)
        return tuple(PhaseSpec(role, (role,)) for role in roles)

    @property
    def times(self) -> tuple[str, ...]:
        """What names of metrics end in: of the result, and of the first network alone where there are two."""
        return ("", "_before") if self.false_positive_reduction else ("",)

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        single = self.classes if len(self.classes) > 1 else []
        return tuple(
            MetricSpec(f"{name}{time}", shown=place + 3 * later, classes=single)
            for later, time in enumerate(self.times)
            for place, name in enumerate(("ap30", "ap50", "sensitivity_1fp"), 1)
        )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        corners = 2 * job.data.dimensions
        if len(self.boxes) not in (1, corners, corners + 1):
            yield (
                f"[task] boxes: names {len(self.boxes)} columns; one, or {corners} for the corners and one "
                "more for the class"
            )
        if self.method == "anchors":
            if self.false_positive_reduction:
                yield "[task] false_positive_reduction: needs method = 'centres'"
            if job.data.patch is not None:
                yield "[data] patch: anchors are on whole images of one size; set [data] size"
            return
        cells = math.prod(length // self.stride for length in job.data.patch or job.data.size or [])
        if cells < self.most_boxes:
            yield f"[task] most_boxes: {self.most_boxes} can't be found in a map of {cells} cells"

    def build(self, job: "JobSpec") -> "DetectionTask":
        """See the base class."""
        from shared.tasks.detection.task import DetectionTask

        return DetectionTask(job, self)
