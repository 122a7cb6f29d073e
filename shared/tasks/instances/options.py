"""What a job may say about instances."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.table import Label, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TaskOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.instances.task import InstancesTask

OneClass = Annotated[list[Label], Field(min_length=1, max_length=1)]


class Instances(TaskOptions):
    """Finds each object of a kind with its outline, and counts them: cells, nuclei, follicles."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "instances": SampleField("instances", columns=("mask",), role="target"),
    }
    takes_patches = True
    example: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "task": {"classes": ["cell"]},
        "model": {"name": "unet", "channels": [16, 32, 64, 128]},
        "data": {"patch": [128, 128], "augment": ["flip", "rotate90", "zoom", "intensity"]},
        "training": {"local_steps": 40, "batch_size": 8},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "pq"},
    }

    name: Literal["instances"]
    classes: OneClass = Field(description="What the instances are of: one name.")
    apart: Literal["depth", "directions", "components"] = Field(
        "depth",
        description="How objects that touch are told apart: 'depth' learns how far each pixel is from its "
        "object's edge; 'directions' where in its object each pixel lies along each axis, which jumps "
        "between two (HoVer-Net, Graham et al. 2019); 'components' takes each connected piece of foreground "
        "for one object.",
    )
    least_depth: float = Field(
        0.5, gt=0, lt=1, description="Depth from which pixels are the core of an object, 1 in its middle."
    )
    seam: float = later_key(
        0.05,
        gt=0,
        lt=1,
        examples=[0.1],
        description="directions: how steeply a map must fall at a seam; 1 is from one object's "
        "end to another's beginning at once.",
    )
    least_size: int = Field(
        8,
        ge=1,
        le=2**20,
        description="Pixels of the smallest object that is told; smaller ones are left out.",
    )

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        return {
            **self.declared,
            "instances": replace(self.declared["instances"], classes=tuple(self.classes)),
        }

    @property
    def subject(self) -> str:
        """See the base class."""
        return f"instances of {self.classes[0]}, and their number"

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """A logit of the foreground, and beside it one of the depth, or a direction along each axis."""
        beside = {"depth": 1, "directions": data.dimensions, "components": 0}
        return {"model": Ends.of(data, 1 + beside[self.apart], "map")}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return (
            MetricSpec("pq", shown=1),
            MetricSpec("sq", shown=3),
            MetricSpec("rq", shown=2),
            MetricSpec("aji", shown=4),
            MetricSpec("count_error", lower_is_better=True, shown=5),
        )

    def build(self, job: "JobSpec") -> "InstancesTask":
        """See the base class."""
        from shared.tasks.instances.task import InstancesTask

        return InstancesTask(job, self)
