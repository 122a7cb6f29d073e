"""What a job may say about a diffusion."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.networks import Ends
from shared.networks.vqvae import VQVAEOptions
from shared.table import Table, later_key
from shared.tasks.generation.drawing_options import DrawingOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.diffusion.task import DiffusionTask

AUTOENCODER, DENOISER = "autoencoder", "denoiser"
"""Roles of two networks, where the noise is in the codes of an autoencoder."""

STEPS = 1000
"""Of noise, from an image to nothing but noise."""


class LatentTable(Table):
    """`[task.latent]`: noise is in the codes of an autoencoder, not in pixels (Rombach et al. 2022)."""

    book: int = Field(64, ge=2, le=8192, description="Codes in the autoencoder's book.")
    cell: Literal[2, 4, 8, 16] = Field(
        4, description="Pixels along each axis of one position; [model.autoencoder] halves so often."
    )
    width: int = Field(16, ge=1, le=512, description="Numbers of a position, as [model.autoencoder] has it.")
    deviation: float = Field(
        0.1,
        gt=0,
        le=1e3,
        description="Standard deviation of pixels about the image that is put together again.",
    )
    commitment: float = Field(
        0.25, ge=0, le=1e3, description="Weight of how far an image's features are from the codes (beta)."
    )


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

    latent: LatentTable | None = later_key(
        None,
        description="Where the noise is in the codes of [model.autoencoder], and not in pixels; "
        "[model.denoiser] then takes it out.",
    )

    def latent_shape(self, data: "DataTable") -> list[int]:
        """Return the shape (W, *G) of an image's features."""
        assert self.latent is not None  # noqa: S101 (asked for nothing else)
        return [self.latent.width, *(pixels // self.latent.cell for pixels in data.size or [])]

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """It sees the image, how noisy it is, and the class, as channels of one image."""
        if self.latent is not None:
            width, *grid = self.latent_shape(data)
            seen = width + 1 + len(self.classes)
            codes = Ends(data.dimensions, data.channels, self.latent.book, data.size or [], "codes")
            return {AUTOENCODER: codes, DENOISER: Ends(data.dimensions, seen, width, grid, "noise")}
        channels = data.channels + 1 + len(self.classes)
        return {"model": Ends(data.dimensions, channels, data.channels, data.size or [], "noise")}

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        own = job.model.get(AUTOENCODER) if isinstance(job.model, dict) else None
        if self.latent is not None and isinstance(own, VQVAEOptions):
            if own.stride != self.latent.cell:
                yield (
                    f"[model.autoencoder] channels: {own.stride} pixels become one position, and "
                    f"[task.latent] cell is {self.latent.cell}; each level halves"
                )
            if own.width != self.latent.width:
                yield f"[task.latent] width: must be {own.width}, as in [model.autoencoder]"
        if job.data.intensity == "none":
            yield (
                "[data] intensity: must bring images to one range, such as 'minmax', as the noise that is "
                "added has one deviation"
            )

    def build(self, job: "JobSpec") -> "DiffusionTask":
        """See the base class."""
        if self.latent is not None:
            from shared.tasks.diffusion.latent import LatentDiffusionTask

            return LatentDiffusionTask(job, self, self.latent)
        from shared.tasks.diffusion.task import DiffusionTask

        return DiffusionTask(job, self)
