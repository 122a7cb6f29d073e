"""What a job may say about a reconstruction."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.networks.options import Output
from shared.table import Label, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.images.channels import check_channels, unit_range_problems
from shared.tasks.images.options import ImageOptions
from shared.tasks.images.specs import specs
from shared.tasks.reconstruction.measurements import AnyMeasurement, KSpace

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.reconstruction.task import ReconstructionTask

DIRECT = "direct"
STEPS = 4
RAW = "raw"
"""Name of the field whose files hold what a scanner measured."""


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
    kspace: Label | None = later_key(
        None,
        examples=["kspace"],
        description="Column of files of whole k-space (docs/reconstruction.md#k-space-from-files), of which "
        "the site leaves out samples, in place of images.",
    )
    channel: int = Field(
        1, ge=1, le=64, description="Channel of the image that is reconstructed, counted from 1."
    )
    method: Literal["recurrent", "cascade", "variational"] = later_key(
        "recurrent",
        description="One network for all steps; one for each of them ([model] name = 'cnn-cascade'); or "
        "steps on the k-space of all coils (name = 'varnet').",
    )
    steps: int = Field(
        STEPS,
        ge=1,
        le=64,
        description="'recurrent': how often the network corrects the image; what was measured comes in after "
        "each time.",
    )
    memory: int = Field(
        0,
        ge=0,
        le=64,
        description="Channels that a step hands on to the next beside the image, as a recurrent network does "
        "(Qin et al. 2019; Adler and Öktem 2018).",
    )

    @model_validator(mode="after")
    def _of_kspace(self) -> Self:
        if self.kspace is not None and not isinstance(self.measurement, KSpace):
            raise ValueError(f"kspace: is not what '{self.measurement.kind}' measures")
        if self.method == "variational":
            if not isinstance(self.measurement, KSpace):
                raise ValueError(f"method: 'variational' is for k-space, not for '{self.measurement.kind}'")
            if self.measurement.kind == "radial":
                raise ValueError(
                    "method: 'variational' learns maps of the middle lines, which spokes don't have"
                )
            if self.measurement.coils == 1:
                raise ValueError("method: 'variational' is for several coils; say how many in measurement")
            if self.memory:
                raise ValueError("memory: 'variational' has none; leave it out")
        if self.method != "recurrent" and self.steps != STEPS:  # a job that was stored has the usual ones
            raise ValueError(f"steps: '{self.method}' has those of its network; leave it out")
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        if self.kspace is None or not isinstance(self.measurement, KSpace):
            return self.declared
        return {RAW: SampleField("kspace", (self.kspace,), channels=self.measurement.coils)}

    def given_fields(self) -> Mapping[str, SampleField]:
        """See the base class: what was measured, in a file; nothing is left out of it."""
        measurement = self.measurement
        return {RAW: measurement.given(self.kspace or measurement.field)}

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """It sees the image, what the measurement says of it and what it remembers."""
        measurement = self.measurement
        made = measurement.channels + self.memory
        if self.method == "variational":
            return {"model": Ends.of(data, made, "kspace")}
        gives: Output = "map" if self.method == "recurrent" else "steps"
        size = Ends.of(data, 1, gives).size
        return {"model": Ends(data.dimensions, made + measurement.guides, made, size, gives)}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return specs(DIRECT)

    @property
    def subject(self) -> str:
        """See the base class."""
        return f"images from {self.measurement.words}"

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.kspace is None:
            yield from unit_range_problems(job)
            yield from check_channels("channel", [self.channel], job.data.channels)
        elif job.data.augment or job.data.spacing:
            key = "augment" if job.data.augment else "spacing"
            yield f"[data] {key}: is of images, and k-space is taken as it is; leave it out"
        elif job.data.size is None:
            yield "[data] size: is missing; give the matrix, of which larger ones are cut"
        if job.training.adversarial is not None:
            yield "[training.adversarial]: changes an image, of which all was measured before; leave it out"
        for problem in self.measurement.problems(job.data.dimensions):
            yield f"[task.measurement] {problem}"

    def build(self, job: "JobSpec") -> "ReconstructionTask":
        """See the base class."""
        from shared.tasks.reconstruction.task import ReconstructionTask

        return ReconstructionTask(job, self)
