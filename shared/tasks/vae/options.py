"""What a job may say about a variational autoencoder."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.networks import Ends
from shared.tasks.generation.drawing_options import DrawingOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.vae.task import VAETask


class VAE(DrawingOptions):
    """Draws images from numbers, into which another network puts real ones (Kingma and Welling 2014)."""

    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {},
        "model": {"encoder": {"name": "discriminator"}, "decoder": {"name": "generator"}},
        "data": {"size": [32, 32], "intensity": "minmax"},
        "training": {"local_steps": 50, "batch_size": 32, "keep_optimizer": True},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "frechet"},
    }

    name: Literal["vae"]
    latent: int = Field(32, ge=1, le=4096, description="Numbers into which an image is put.")
    deviation: float = Field(
        0.1,
        gt=0,
        le=1e3,
        description="Standard deviation of pixels about the drawn image; the smaller, the more likeness "
        "counts beside the distribution of the numbers.",
    )

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """Mean and logarithm of the variance of each number; and the image. Both see the class."""
        seen, classes = Ends.of(data, 2 * self.latent, "vector"), len(self.classes)
        return {
            "encoder": Ends(seen.dimensions, seen.channels + classes, seen.outputs, seen.size, "vector"),
            "decoder": Ends.of_drawn(data, self.latent + classes),
        }

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        if job.data.intensity not in ("minmax", "percentile", "window", "zscore"):
            yield "[data] intensity: must bring images to one range, as all pixels have one deviation"

    def build(self, job: "JobSpec") -> "VAETask":
        """See the base class."""
        from shared.tasks.vae.task import VAETask

        return VAETask(job, self)
