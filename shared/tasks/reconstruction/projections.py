"""CT and PET in two dimensions: sums along parallel rays, as numbers or as counts of photons."""

import torch
from torch import Generator, Tensor

from shared.batch import Batch
from shared.tasks.images.rays import filtered_back, projected, smeared_back
from shared.tasks.precision import full
from shared.tasks.reconstruction.measurements import PET, ParallelBeam
from shared.tasks.reconstruction.scanner import Measured, Scanner

RAYS = "rays"
_LEAST = 1e-6  # of what is divided by
_LEAST_SHARE = 0.01  # of the mean ray: where the image has less, a count would move it without end


class RayScanner(Scanner):
    """Sums along rays `rays` (1, angles, N), in pixels; a network sees beside an image what they say of it.

    Rays are noisy, so nothing forces an image onto them: each step is one of a learned gradient descent
    (Adler and Öktem 2017, "Solving ill-posed inverse problems using iterative deep neural networks").
    """

    def truth(self, raw: Tensor) -> Tensor:
        """Refuse: an image is not known of its rays."""
        raise ValueError("there is no true image of rays from files")

    def again(self, raw: Tensor, source: Generator) -> dict[str, Tensor]:
        """Refuse, likewise."""
        raise ValueError("nothing is left out of rays from files")

    def given(self, raw: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        return {RAYS: raw}

    def guided(self, image: Tensor, batch: Batch) -> Tensor:
        """Return the image with what would bring it nearer to its rays (B, 2, H, W)."""
        return torch.cat([image, self._correction(full(image), full(batch[RAYS]))], dim=1)

    def _correction(self, image: Tensor, rays: Tensor) -> Tensor:
        raise NotImplementedError


class BeamScanner(RayScanner):
    """Transmission: what rays lose, from photons that are counted."""

    def __init__(self, options: ParallelBeam) -> None:
        self._options = options

    def measure(self, image: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return the `rays`; a ray counts Poisson many of photons times exp(-line integral), at least one."""
        options = self._options
        rays = projected(image, options.angles)
        if options.photons is not None:
            scale = options.attenuation / image.shape[-1]
            counts = torch.poisson(options.photons * torch.exp(-scale * rays), generator=source).clamp(min=1)
            rays = -torch.log(counts / options.photons) / scale
        return {RAYS: rays}

    def direct(self, measured: Measured, size: tuple[int, ...]) -> Tensor:
        """Return filtered back projection (B, 1, H, W)."""
        return filtered_back(measured[RAYS][:, 0], size)[:, None]

    def _correction(self, image: Tensor, rays: Tensor) -> Tensor:
        """Filtered back projection of what the rays of the image lack."""
        lacking = rays[:, 0] - projected(image[:, 0], self._options.angles)
        return filtered_back(lacking, tuple(image.shape[2:]))[:, None]


class PETScanner(RayScanner):
    """Emission: pairs of photons, counted along rays."""

    def __init__(self, options: PET) -> None:
        self._options = options

    def measure(self, image: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return the `rays`: counts over how many a unit of activity gives."""
        rays = projected(image, self._options.angles).clamp(min=0)
        rate = self._options.counts / rays.sum().clamp(min=_LEAST)
        return {RAYS: torch.poisson(rays * rate, generator=source) / rate}

    def direct(self, measured: Measured, size: tuple[int, ...]) -> Tensor:
        """Return some steps of ML-EM from an even image (B, 1, H, W)."""
        rays = measured[RAYS]
        image = torch.ones(len(rays), 1, *size, device=rays.device)
        for _ in range(self._options.iterations):
            image = image + self._correction(image, rays)
        return image

    def _correction(self, image: Tensor, rays: Tensor) -> Tensor:
        """What a step of ML-EM would add (Shepp and Vardi 1982, equation 2.13)."""
        size, lines = tuple(image.shape[2:]), rays[:, 0]
        positive = image[:, 0].clamp(min=0)
        least = (_LEAST_SHARE * lines.mean((1, 2), keepdim=True)).clamp(min=_LEAST)
        ratio = lines / torch.maximum(projected(positive, self._options.angles), least)
        seen = smeared_back(torch.ones_like(lines), size).clamp(min=_LEAST)
        factor = smeared_back(ratio, size) / seen
        return (positive * (factor - 1))[:, None]
