"""Maps of whole images: how images of any size go through a network that gives a value for each pixel."""

from functools import partial
from typing import TYPE_CHECKING

from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


OVERLAP = 0.25  # of neighbouring windows, as MONAI has it; 0.5 would cost 1.5 times as many an axis


def padded(model: nn.Module, images: Tensor) -> Tensor:
    """Run a network on images (B, C, *S) of any size; returns its map (B, K, *S), or several (B, M, K, *S).

    A network that halves its input several times says so in its attribute `divisor`; images are padded to a
    multiple of it, by repeating their border, and the map is cut back.
    """
    divisor = int(getattr(model, "divisor", 1))
    sizes = images.shape[2:]
    missing = [-size % divisor for size in sizes]
    if any(missing):
        pad = [number for extra in reversed(missing) for number in (0, extra)]
        images = functional.pad(images, pad, mode="replicate")
    found: Tensor = model(images)
    for axis, size in enumerate(sizes, start=-len(sizes)):
        found = found.narrow(axis, 0, size)
    return found


class Windows:
    """Covers images that are larger than what a network was trained on.

    Args:
        job: Says whether it is trained on patches.
    """

    def __init__(self, job: "JobSpec") -> None:
        self._patch = job.data.patch
        self._inferer = None
        if job.data.patch is not None:
            self._inferer = SlidingWindowInferer(
                roi_size=job.data.patch,
                sw_batch_size=job.training.batch_size,  # what training fitted into memory
                overlap=OVERLAP,
                mode="gaussian",
                padding_mode="replicate",
            )

    def map_of(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the map of whole images.

        Images larger than `data.patch` along any axis are covered by overlapping windows of that size, whose
        maps are averaged with Gaussian weights (Isensee et al., Nature Methods 2021).
        """
        if self._inferer is None or self._patch is None or not _exceeds(images, self._patch):
            return padded(model, images)
        found: Tensor = self._inferer(images, partial(padded, model))
        return found


def _exceeds(images: Tensor, patch: list[int]) -> bool:
    return any(size > limit for size, limit in zip(images.shape[2:], patch, strict=True))
