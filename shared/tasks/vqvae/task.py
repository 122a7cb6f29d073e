"""A vector-quantised autoencoder (van den Oord et al. 2017, "Neural discrete representation learning")."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from shared.batch import Batch, Prediction
from shared.tasks.base import Models
from shared.tasks.generation.drawing import DrawingTask
from shared.tasks.precision import full
from shared.tasks.vqvae.options import AUTOENCODER, PRIOR, VQVAE

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.networks.vqvae_modules import QuantisedAutoencoder
    from shared.tasks.diffusion.options import LatentTable

_DRAWS = 2**24  # as many numbers as float32 tells apart within 0 and 1


def rebuilding(options: "VQVAE | LatentTable", predicted: Prediction, image: Tensor) -> Tensor:
    """Return the loss (B,) of a book and an autoencoder: equation 3 of van den Oord et al. 2017.

    Args:
        options: The deviation of pixels, and the weight of the commitment.
        predicted: The image `rebuilt`, and how far features are from codes, `book` and `commitment` (B,).
        image: The image itself (B, C, *S).
    """
    away = (full(predicted["rebuilt"]) - image).square().flatten(1).mean(1)
    likeness = full(predicted["book"]) + options.commitment * full(predicted["commitment"])
    return away / (2 * options.deviation**2) + likeness


class VQVAETask(DrawingTask):
    """The loss of an image is that of its equation 3, and what the prior misses of its codes.

    The book is learnt by the gradient (its second term), not by moving averages: it is then averaged as any
    weight is, and the loss of an image depends on no other. Both networks learn in one phase, which
    differential privacy charges once.
    """

    def __init__(self, job: "JobSpec", options: VQVAE) -> None:
        super().__init__(job, options)
        self._vqvae = options
        self._grid = options.grid(job.data)

    def noise(self, sources: list[torch.Generator]) -> dict[str, Tensor]:
        """Return `draws` (B, N), whole numbers: by which each code of an image is drawn."""
        length = torch.Size(self._grid).numel()
        return {"draws": torch.stack([torch.randint(_DRAWS, (length,), generator=own) for own in sources])}

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the image as it is put together again, `rebuilt`, and the parts of the loss (B,) else."""
        found = models[AUTOENCODER](batch["image"])
        indices = found["indices"].flatten(1)
        said = full(models[PRIOR](self._before(indices, batch)))
        return {
            "rebuilt": self._ranged(found["rebuilt"]),
            "book": full(found["book"]),
            "commitment": full(found["commitment"]),
            "missed": cross_entropy(said.movedim(-1, 1), indices, reduction="none").mean(1),
        }

    def _before(self, indices: Tensor, batch: Batch) -> Tensor:
        """Return what the prior sees (B, N): its start, which says the class, and all codes but the last."""
        start = batch["label"] if self.options.classes else torch.zeros_like(indices[:, 0])
        return torch.cat([self._vqvae.book + start[:, None], indices[:, :-1]], dim=1)

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the squared differences over twice the variance, and the others, (B,)."""
        return rebuilding(self._vqvae, predicted, batch["image"]) + predicted["missed"]

    def drawn(self, models: Models, batch: Batch) -> Tensor:
        """See the base class: code by code from the prior, then the image of the codes."""
        draws = batch["draws"].double() / _DRAWS
        with torch.no_grad():
            indices = draws.new_zeros(draws.shape, dtype=torch.int64)
            for place in range(indices.shape[1]):
                said = full(models[PRIOR](self._before(indices, batch)[:, : place + 1]))[:, -1]
                sums = said.double().softmax(dim=1).cumsum(dim=1)
                chosen = (sums < draws[:, place : place + 1]).sum(dim=1)
                indices[:, place] = chosen.clamp(max=self._vqvae.book - 1)
            autoencoder = cast("QuantisedAutoencoder", models[AUTOENCODER])
            return self._ranged(autoencoder.decoded(indices.unflatten(1, self._grid)))

    def _ranged(self, image: Tensor) -> Tensor:
        return image.sigmoid() if self.unit else image
