"""What a job may say about a generation."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.networks import Ends
from shared.tasks.generation.drawing_options import DrawingOptions
from shared.tasks.options import PhaseSpec

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.generation.task import GenerationTask

_GAN = {"generator": {"name": "generator"}, "discriminator": {"name": "discriminator"}}


class Generation(DrawingOptions):
    """Draws images like the hospitals' with a generator and a discriminator (Goodfellow et al. 2014)."""

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
    latent: int = Field(64, ge=1, le=4096, description="Random numbers that an image is drawn from.")
    loss: Literal["logistic", "hinge", "wasserstein"] = Field(
        "logistic",
        description="What both networks minimise: the non-saturating losses of Goodfellow et al. 2014, the "
        "hinge (Lim and Ye 2017), or the Wasserstein distance with a gradient penalty (WGAN-GP, Gulrajani et "
        "al. 2017).",
    )
    penalty: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="Weight of the squared gradient of the discriminator at real images, R1 (Mescheder et "
        "al. 2018), which keeps it from growing steep; 0 for none, as private training needs it. With "
        "'wasserstein' of how far its gradient's norm is from 1 between a real and a drawn image; the paper "
        "has 10.",
    )

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

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        if self.loss == "wasserstein" and self.penalty == 0:
            yield (
                "[task] penalty: must be above 0 with loss = 'wasserstein', whose discriminator grows "
                "without bound otherwise; the paper has 10"
            )
        if self.penalty > 0 and job.training.compile:
            yield (
                "[task] penalty: must be 0 with [training] compile, as PyTorch's compiler has no gradient of "
                "a gradient"
            )

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.loss == "wasserstein":
            yield (
                "[task] loss: 'wasserstein' needs a gradient of a gradient, which hooks that find the "
                "gradients of single samples can't follow; take 'logistic' or 'hinge', with penalty = 0"
            )
        elif self.penalty > 0:
            yield (
                "[task] penalty: must be 0 with 'dp-sgd', which bounds each patient's gradient itself; hooks "
                "that find the gradients of single samples can't follow a gradient of a gradient"
            )

    def build(self, job: "JobSpec") -> "GenerationTask":
        """See the base class."""
        from shared.tasks.generation.task import GenerationTask

        return GenerationTask(job, self)
