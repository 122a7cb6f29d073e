"""What a job may say about a restoration."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.table import Label
from shared.tasks.fields import Field as SampleField
from shared.tasks.images.channels import Channels, check_channels, unit_range_problems
from shared.tasks.images.options import ImageOptions
from shared.tasks.images.specs import specs
from shared.tasks.restoration.degradations import AnyDegradation

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.restoration.task import RestorationTask

DEGRADED = "degraded"


class Restoration(ImageOptions):
    """Restores images: from copies that the site spoils, from pairs, or from noisy images alone."""

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}
    takes_patches = True
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {"degradations": [{"kind": "gaussian", "level": 0.08}]},
        "model": {"name": "unet"},
        "data": {"size": [128, 128], "intensity": "percentile"},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "psnr"},
    }

    name: Literal["restoration"]
    degradations: list[AnyDegradation] = Field(
        [],
        max_length=8,
        description="How the site spoils an image, in this order: tables with a `kind` each "
        "(docs/restoration.md). None where images are taken as they are.",
    )
    reference: Label | None = Field(
        None,
        examples=["full_dose"],
        description="Column of a second image of the same grid, to learn from instead: the good one of a "
        "pair, or with noise2noise a repetition.",
    )
    learns_from: Literal["clean", "noise2noise", "noise2void"] = Field(
        "clean",
        description="What the answer is compared with in training: the clean image; another noisy copy of it "
        "(Lehtinen et al. 2018); or pixels of the noisy image that the network did not see (Krull et al. "
        "2019).",
    )
    channels: Channels = Field(
        None,
        examples=[[2]],
        description="Channels of the image that are restored, counted from 1; without it all.",
    )
    residual: bool = Field(
        True, description="The network says what to add to the image (Zhang et al. 2017), not what it is."
    )
    spots: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.02, description="Share of the pixels that are hidden in a step of noise2void."
    )

    @model_validator(mode="after")
    def _learns(self) -> Self:
        if self.reference is not None and (self.degradations or self.learns_from == "noise2void"):
            other = "degradations" if self.degradations else "noise2void, which needs no second image"
            raise ValueError(f"reference: is there instead of {other}; leave one of them out")
        if not self.degradations and self.reference is None and self.learns_from != "noise2void":
            raise ValueError(
                f"degradations: are missing; '{self.learns_from}' needs them, or a column of images in "
                "reference"
            )
        steady = [own.kind for own in self.degradations if not own.each_pixel]
        if self.learns_from != "clean" and steady:
            raise ValueError(
                f"learns_from: '{self.learns_from}' is for noise that is another in each pixel, not for "
                f"'{steady[0]}'"
            )
        if self.learns_from == "noise2void" and self.ssim_weight:
            raise ValueError("ssim_weight: must be 0 with noise2void, which compares single pixels")
        return self

    @property
    def has_truth(self) -> bool:
        """Whether there are clean images to judge by."""
        return bool(self.degradations) or (self.reference is not None and self.learns_from == "clean")

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        found = dict(self.declared)
        if self.reference is not None:
            found["reference"] = SampleField("image", (self.reference,), role="target", grid="image")
        if self.has_truth:
            true = "image" if self.reference is None else "reference"
            found["scale"] = SampleField("scale", role="target", tells_of=true)
        return found

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """As many numbers for each pixel as channels are restored."""
        channels = len(self.channels or range(data.channels))
        return {"model": Ends(data.dimensions, channels, channels, Ends.of(data, 1, "map").size, "map")}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class; without clean images there is only the loss."""
        return specs(DEGRADED) if self.has_truth else ()

    @property
    def subject(self) -> str:
        """See the base class."""
        spoilt = " and ".join(own.words for own in self.degradations)
        return f"images from copies with {spoilt}" if spoilt else "images from noisy ones"

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from unit_range_problems(job)
        yield from check_channels("channels", self.channels, job.data.channels)
        for own in self.degradations:
            if own.kind == "low-dose" and job.data.dimensions == 3:
                yield "[task] degradations: 'low-dose' is for pictures; [data] dimensions = 3"
            if own.kind == "downsample" and len(own.factor) not in (1, job.data.dimensions):
                yield (
                    f"[task] degradations: the factor of 'downsample' has {len(own.factor)} numbers, but "
                    f"[data] dimensions = {job.data.dimensions}"
                )

    def build(self, job: "JobSpec") -> "RestorationTask":
        """See the base class."""
        from shared.tasks.restoration.task import RestorationTask

        return RestorationTask(job, self)
