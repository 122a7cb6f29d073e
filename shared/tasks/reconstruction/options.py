"""What a job may say about a reconstruction."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.tasks.fields import Field as SampleField
from shared.tasks.images.channels import check_channels, unit_range_problems
from shared.tasks.images.options import ImageOptions
from shared.tasks.images.specs import specs
from shared.tasks.reconstruction.measurements import AnyMeasurement

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.reconstruction.task import ReconstructionTask

DIRECT = "direct"


class Reconstruction(ImageOptions):
    """Makes an image of what a scanner measured: some lines of k-space, few rays of CT, few counts of PET."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "scale": SampleField("scale", role="target", tells_of="image"),
    }
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {"measurement": {"kind": "cartesian", "acceleration": 4.0}},
        "model": {"name": "unet"},
        "data": {"size": [128, 128], "intensity": "percentile"},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "psnr"},
    }

    name: Literal["reconstruction"]
    measurement: AnyMeasurement = Field(
        description="What is measured of an image, in a table with a `kind` (docs/reconstruction.md)."
    )
    channel: int = Field(
        1, ge=1, le=64, description="Channel of the image that is reconstructed, counted from 1."
    )
    steps: int = Field(
        4,
        ge=1,
        le=64,
        description="How often the network corrects the image; what was measured comes in after each time.",
    )
    memory: int = Field(
        0,
        ge=0,
        le=64,
        description="Channels that a step hands on to the next beside the image, as a recurrent network does "
        "(Qin et al. 2019; Adler and Öktem 2018).",
    )

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """It sees the image, what the measurement says of it and what it remembers."""
        measurement = self.measurement
        made = measurement.channels + self.memory
        size = Ends.of(data, 1, "map").size
        return {"model": Ends(data.dimensions, made + measurement.guides, made, size, "map")}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return specs(DIRECT)

    @property
    def subject(self) -> str:
        """See the base class."""
        return f"images from {self.measurement.words}"

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from unit_range_problems(job)
        yield from check_channels("channel", [self.channel], job.data.channels)
        for problem in self.measurement.problems(job.data.dimensions):
            yield f"[task.measurement] {problem}"

    def build(self, job: "JobSpec") -> "ReconstructionTask":
        """See the base class."""
        from shared.tasks.reconstruction.task import ReconstructionTask

        return ReconstructionTask(job, self)
