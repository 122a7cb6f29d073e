"""What a job may say about a generation."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.table import Label
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import PhaseSpec, TaskOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.generation.task import GenerationTask

_GAN = {"generator": {"name": "generator"}, "discriminator": {"name": "discriminator"}}


class Generation(TaskOptions):
    """Draws images like the hospitals' with a generator and a discriminator (Goodfellow et al. 2014)."""

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {},
        "model": _GAN,
        "data": {"size": [32, 32], "intensity": "minmax"},
        "training": {
            "local_steps": 50,
            "batch_size": 32,
            "optimizer": "adam",
            "learning_rate": 3e-4,
            "momentum": 0.0,
            "keep_optimizer": True,
        },
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "frechet"},
    }

    name: Literal["generation"]
    classes: list[Label] = Field(
        [],
        max_length=256,
        examples=[["benign", "malignant"]],
        description="Values of the column `label`; with them, images of a class are drawn.",
    )
    latent: int = Field(64, ge=1, le=4096, description="Random numbers that an image is drawn from.")
    loss: Literal["logistic", "hinge"] = Field(
        "logistic",
        description="What both networks minimise: the non-saturating losses of Goodfellow et al. 2014, or "
        "the hinge (Lim and Ye 2017).",
    )
    penalty: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="Weight of the squared gradient of the discriminator at real images, R1 (Mescheder et "
        "al. 2018), which keeps it from growing steep; 0 for none, as private training needs it.",
    )
    features: int = Field(
        16, ge=2, le=64, description="Numbers of an image that the Fréchet distance compares."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a name appears twice")
        if len(self.classes) == 1:
            raise ValueError("classes: one class says nothing; give two or more, or none")
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class; a label is what an image is drawn for, and predicted by nobody."""
        if not self.classes:
            return self.declared
        return {**self.declared, "label": SampleField("label", classes=tuple(self.classes))}

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """The discriminator sees the class as channels of the image."""
        seen = Ends.of(data, 1, "vector")
        classes = len(self.classes)
        return {
            "generator": Ends.of_drawn(data, self.latent + classes),
            "discriminator": Ends(seen.dimensions, seen.channels + classes, 1, seen.size, "vector"),
        }

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """The discriminator learns first; the generator sees the images only through it."""
        return (
            PhaseSpec("discriminator", ("discriminator",)),
            PhaseSpec("generator", ("generator",), sees_data=False),
        )

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

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.penalty > 0 and job.training.compile:
            yield (
                "[task] penalty: must be 0 with [training] compile, as PyTorch's compiler has no gradient of "
                "a gradient"
            )

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.penalty > 0:
            yield (
                "[task] penalty: must be 0 with 'dp-sgd', which bounds each patient's gradient itself; hooks "
                "that find the gradients of single samples can't follow a gradient of a gradient"
            )

    def build(self, job: "JobSpec") -> "GenerationTask":
        """See the base class."""
        from shared.tasks.generation.task import GenerationTask

        return GenerationTask(job, self)
