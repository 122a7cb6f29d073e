"""Learning from images alone: hidden blocks filled in, or two views of an image told from those of others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Generator, Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.base import TRAIN, Models, Phase
from shared.tasks.precision import full
from shared.tasks.pretraining.losses import barlow_twins, nt_xent
from shared.tasks.pretraining.metrics import FIRST, SECOND, ContrastMetrics
from shared.tasks.pretraining.options import ENCODER, PROJECTOR, Pretraining
from shared.tasks.pretraining.rebuilding import REBUILT, PretrainingTask, RebuildingTask, means
from shared.tasks.programs import Program
from shared.tasks.unlabelled.views import another
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

HIDDEN, SEEDS = "hidden", "view_seeds"


class HiddenBlocksTask(RebuildingTask):
    """One network sees an image (B, C, *S) of which blocks are hidden, and says what was there.

    Each image's blocks are drawn by its own seed, and its loss is of its own pixels: so private training
    clips what it is for other tasks.
    """

    def __init__(self, job: "JobSpec", options: Pretraining) -> None:
        super().__init__(job, options)
        self._windows = Windows(job)

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add `hidden` (B, 1, *S): which pixels the network does not see."""
        share, block = self.options.value_of("hidden"), self.options.value_of("block")
        pairs = zip(batch["image"], batch.seeds(seed), strict=True)
        drawn = [hidden_blocks(image.shape[1:], share, block, own) for image, own in pairs]
        return batch.plus(**{HIDDEN: torch.stack(drawn)})

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return `rebuilt` (B, C, *S), and the errors of it."""
        return self.judged(batch, padded(models["model"], self.seen(batch)))

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """See the base class."""
        with eval_mode(models["model"]):
            return self.judged(batch, self._windows.map_of(models["model"], self.seen(batch)))

    def seen(self, batch: Batch) -> Tensor:
        """Return the images with the mean of what is seen in place of what is hidden."""
        images, hidden = batch["image"], batch[HIDDEN]
        return torch.where(hidden, means(images, ~hidden), images)

    def counted(self, batch: Batch) -> Tensor:
        """See the base class: what is hidden."""
        hidden: Tensor = batch[HIDDEN]
        return hidden

    def program(self, models: Models) -> Program:
        """Return the network."""
        inputs = {"image": self.image_input()}
        says = "what each pixel is taken for, as the image is prepared"
        return Program(models["model"], inputs, REBUILT, says, {"hidden": self.options.value_of("hidden")})


class ContrastTask(PretrainingTask):
    """Two networks: what an image shows (B, F), and what of that is compared (B, N)."""

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add the seeds of two views of each image, (B, 2)."""
        seeds = [torch.randint(2**62, (2,), generator=_source(own)) for own in batch.seeds(seed)]
        return batch.plus(**{SEEDS: torch.stack(seeds)})

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        return (self.phase(TRAIN, self._contrast),)

    def _contrast(self, models: Models, batch: Batch) -> Tensor:
        predicted = self.forward(models, batch)
        first, second = full(predicted[FIRST]), full(predicted[SECOND])
        if self.options.method == "simclr":
            return nt_xent(first, second, self.options.value_of("temperature"))
        return barlow_twins(first, second, self.options.value_of("redundancy"))

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the projections of the `first` and the `second` views (B, N), made in one pass."""
        images, seeds = batch["image"], batch[SEEDS].tolist()
        views = [
            another(image, own[number]) for number in (0, 1) for image, own in zip(images, seeds, strict=True)
        ]
        found = models[PROJECTOR](models[ENCODER](torch.stack(views)))
        first, second = found.chunk(2)
        return {FIRST: first, SECOND: second}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return how unlike the two views of each image are, (B,): one less their cosine."""
        first, second = full(predicted[FIRST]), full(predicted[SECOND])
        return 1 - torch.nn.functional.cosine_similarity(first, second)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class."""
        return ContrastMetrics(self.job, self.options.value_of("projections"))

    def program(self, models: Models) -> Program:
        """See the base class: the encoder."""
        return self.encoder_program(models)


def hidden_blocks(shape: Sequence[int], share: float, block: int, seed: int) -> Tensor:
    """Return which pixels are hidden, bool (1, *S): a share of the blocks that cover an image, one at least.

    One block at least stays. Blocks at the far ends are cut.
    """
    counts = [-(-pixels // block) for pixels in shape]
    number = int(np.prod(counts))
    chosen = torch.zeros(number, dtype=torch.bool)
    most = min(number - 1, max(1, round(share * number)))
    chosen[torch.randperm(number, generator=_source(seed))[:most]] = True
    blocks = chosen.view(counts)
    for axis in range(len(counts)):
        blocks = blocks.repeat_interleave(block, dim=axis)
    return blocks[tuple(slice(pixels) for pixels in shape)][None]


def _source(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)
