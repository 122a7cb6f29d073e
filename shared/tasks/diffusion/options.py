"""What a job may say about a diffusion."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.networks import Ends
from shared.tasks.generation.drawing_options import DrawingOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.diffusion.task import DiffusionTask

STEPS = 1000
"""Of noise, from an image to nothing but noise."""


class Diffusion(DrawingOptions):
    """Draws images out of noise with a network that says what of a noisy image is noise (Ho et al. 2020)."""

    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {},
        "model": {"name": "diffusion-unet"},
        "data": {"size": [32, 32], "intensity": "minmax"},
        "training": {"local_steps": 50, "batch_size": 32, "keep_optimizer": True},
        "strategy": {"name": "fedavg"},
        "evaluation": {"every": 5, "select_best": "loss"},
    }

    name: Literal["diffusion"]
    method: Literal["noise", "flow"] = Field(
        "noise",
        description="What the network says of a noisy image: its noise (DDPM, Ho et al. 2020), drawn by DDIM "
        "(Song et al. 2021); or the way from the noise to the image (rectified flow, Liu et al. 2023).",
    )
    drawing_steps: int = Field(
        25, ge=2, le=STEPS, description="Times that the network runs to draw an image; more are finer."
    )

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """It sees the image, how noisy it is, and the class, as channels of one image."""
        channels = data.channels + 1 + len(self.classes)
        return {"model": Ends(data.dimensions, channels, data.channels, data.size or [], "noise")}

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        if job.data.intensity == "none":
            yield (
                "[data] intensity: must bring images to one range, such as 'minmax', as the noise that is "
                "added has one deviation"
            )

    def build(self, job: "JobSpec") -> "DiffusionTask":
        """See the base class."""
        from shared.tasks.diffusion.task import DiffusionTask

        return DiffusionTask(job, self)
