"""What a job may say about a synthesis."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.table import Label
from shared.tasks.fields import Field as SampleField
from shared.tasks.images.channels import Channels, check_channels, unit_range_problems
from shared.tasks.images.options import ImageOptions
from shared.tasks.images.specs import specs
from shared.tasks.options import PhaseSpec

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.synthesis.task import SynthesisTask

COPIED = "copied"
GENERATOR, CRITIC = "generator", "discriminator"


class Synthesis(ImageOptions):
    """Makes an image of another kind, such as a sequence that was not taken (pix2pix, Isola et al. 2017)."""

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}
    takes_patches = True
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {"source": [1], "target": [2]},
        "model": {"name": "unet"},
        "data": {"channels": 2, "size": [128, 128], "intensity": "percentile"},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "psnr"},
    }

    name: Literal["synthesis"]
    source: Channels = Field(
        None, examples=[[1, 2]], description="Channels that the network sees, counted from 1; without it all."
    )
    target: Channels = Field(
        None, examples=[[3]], description="Channels of the same image that are made, counted from 1."
    )
    reference: list[Label] | None = Field(
        None,
        min_length=1,
        max_length=64,
        examples=[["ct"]],
        description="Columns of the images that are made, a channel each, in place of target: on the grid of "
        "the image, and not needed where the model is used.",
    )
    corrects: int | None = Field(
        None,
        ge=1,
        le=64,
        examples=[1],
        description="Channel of source that is near to what is made: the network says what to add to it.",
    )
    method: Literal["direct", "pix2pix"] = Field(
        "direct",
        description="A network that is right on average; or one against a discriminator, which also wants it "
        "to look real, with the tables [model.generator] and [model.discriminator].",
    )
    closeness: float = Field(
        100.0, ge=0, le=1e6, description="Weight of the loss beside the discriminator's in pix2pix."
    )

    @model_validator(mode="after")
    def _makes(self) -> Self:
        if (self.target is None) == (self.reference is None):
            raise ValueError("target: give channels of the image, or columns in reference, and not both")
        if self.target is not None and self.source is None:
            raise ValueError("source: is missing; which channels does the network see?")
        if both := set(self.source or ()) & set(self.target or ()):
            raise ValueError(f"target: channel {min(both)} is in source too, and nothing is left to make")
        if self.corrects is not None and self.source is not None and self.corrects not in self.source:
            raise ValueError(f"corrects: channel {self.corrects} is not in source")
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        found = dict(self.declared)
        if self.reference is not None:
            found["reference"] = SampleField(
                "image", tuple(self.reference), role="target", grid="image", channels=len(self.reference)
            )
        true = "image" if self.reference is None else "reference"
        return {**found, "scale": SampleField("scale", role="target", tells_of=true)}

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """A discriminator sees what is given beside what is made of it."""
        seen, made = len(self.source or range(data.channels)), len(self.target or self.reference or ())
        size = Ends.of(data, made, "map").size
        maker = Ends(data.dimensions, seen, made, size, "map")
        if self.method == "direct":
            return {"model": maker}
        return {GENERATOR: maker, CRITIC: Ends(data.dimensions, seen + made, 1, size, "vector")}

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """The discriminator learns first."""
        if self.method == "direct":
            return super().phases(data)
        return PhaseSpec(CRITIC, (CRITIC,)), PhaseSpec(GENERATOR, (GENERATOR,))

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        return specs(COPIED)

    @property
    def subject(self) -> str:
        """See the base class."""
        if self.reference is not None:
            return f"images of {', '.join(self.reference)}"
        return f"channel {', '.join(map(str, self.target or ()))} of images from their others"

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from unit_range_problems(job)
        yield from check_channels("source", self.source, job.data.channels)
        yield from check_channels("target", self.target, job.data.channels)
        if self.corrects is not None:
            yield from check_channels("corrects", [self.corrects], job.data.channels)
        for name in ("intensity", "noise", "gamma"):
            if name in job.data.augment and self.target is not None:
                yield f"[data] augment: '{name}' would change what is to be made; leave it out"

    def build(self, job: "JobSpec") -> "SynthesisTask":
        """See the base class."""
        from shared.tasks.synthesis.task import SynthesisTask

        return SynthesisTask(job, self)
