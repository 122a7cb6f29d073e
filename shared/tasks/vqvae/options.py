"""What a job may say about a vector-quantised autoencoder."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.networks import Ends
from shared.tasks.generation.drawing_options import DrawingOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.vqvae.task import VQVAETask

AUTOENCODER, PRIOR = "autoencoder", "prior"
"""Roles of the two networks."""

_MOST_CODES = 1024  # of an image: a prior looks at all pairs


class VQVAE(DrawingOptions):
    """Draws grids of codes, of which another network makes images (van den Oord et al. 2017)."""

    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {},
        "model": {"autoencoder": {"name": "vqvae"}, "prior": {"name": "code-transformer"}},
        "data": {"size": [32, 32], "intensity": "minmax"},
        "training": {"local_steps": 50, "batch_size": 32, "keep_optimizer": True},
        "strategy": {"name": "fedavg"},
        "evaluation": {"every": 5, "select_best": "frechet"},
    }

    name: Literal["vq-vae"]
    book: int = Field(64, ge=2, le=8192, description="Codes in the book.")
    cell: Literal[2, 4, 8, 16] = Field(
        4, description="Pixels along each axis that one code stands for; [model.autoencoder] halves so often."
    )
    deviation: float = Field(
        0.1,
        gt=0,
        le=1e3,
        description="Standard deviation of pixels about the image that is put together again.",
    )
    commitment: float = Field(
        0.25, ge=0, le=1e3, description="Weight of how far an image's features are from the codes (beta)."
    )

    def grid(self, data: "DataTable") -> list[int]:
        """Return how many codes there are along each axis."""
        return [pixels // self.cell for pixels in data.size or []]

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """See the base class; the prior begins with the class, or with one more code."""
        length = math.prod(self.grid(data))
        return {
            AUTOENCODER: Ends(data.dimensions, data.channels, self.book, data.size or [], "codes"),
            PRIOR: Ends(0, max(1, len(self.classes)), self.book, [length], "tokens"),
        }

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        if job.data.intensity not in ("minmax", "percentile", "window", "zscore"):
            yield "[data] intensity: must bring images to one range, as all pixels have one deviation"
        if (length := math.prod(self.grid(job.data))) > _MOST_CODES:
            yield f"[task] cell: an image has {length} codes, and {_MOST_CODES} is the most; enlarge it"
        own = job.model.get(AUTOENCODER) if isinstance(job.model, dict) else None
        if own is not None and own.stride != self.cell:
            yield (
                f"[model.autoencoder] channels: {own.stride} pixels become one position, and [task] cell is "
                f"{self.cell}; each level halves"
            )

    def build(self, job: "JobSpec") -> "VQVAETask":
        """See the base class."""
        from shared.tasks.vqvae.task import VQVAETask

        return VQVAETask(job, self)
