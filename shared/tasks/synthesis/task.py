"""Synthesis: from some channels of an image to others, by one network or by two that compete."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from shared.batch import Batch, Prediction
from shared.metrics.states import MetricSet
from shared.tasks.answers import Answer, Cell, FoundImage
from shared.tasks.base import Models, Phase, Task
from shared.tasks.images.closeness import clipped, distances, psnr, ssim
from shared.tasks.images.metrics import MADE, ImageMetrics
from shared.tasks.look import Look, Shown
from shared.tasks.precision import full
from shared.tasks.programs import TENTH, Corrects, Program
from shared.tasks.synthesis.options import COPIED, CRITIC, GENERATOR, Synthesis
from shared.tasks.whole_images import Windows, padded

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


class SynthesisTask(Task):
    """A network sees channels (B, C, *S) and makes others (B, K, *S); images without them count nothing."""

    def __init__(self, job: "JobSpec", options: Synthesis) -> None:
        super().__init__(job)
        self._options = options
        self._windows = Windows(job)
        self._maker = "model" if options.method == "direct" else GENERATOR
        self._source = [number - 1 for number in options.source or range(1, job.data.channels + 1)]
        self._base = None if options.corrects is None else self._source.index(options.corrects - 1)
        self._target = [number - 1 for number in options.target or ()]

    def _seen(self, batch: Batch) -> Tensor:
        seen: Tensor = batch["image"][:, self._source]
        return seen

    def _truth(self, batch: Batch) -> Tensor:
        true: Tensor = batch["image"][:, self._target] if self._target else batch["reference"]
        return true

    def _truth_and_scale(self, batch: Batch) -> tuple[Tensor, Tensor]:
        scale = batch["scale"]
        return self._truth(batch), scale[:, self._target] if self._target else scale

    def _is_there(self, batch: Batch) -> Tensor:
        """Say which images have what is to be made (B,): no empty channel and no copy of a given one."""
        seen, true = self._seen(batch).flatten(2), self._truth(batch).flatten(2)
        same = (seen[:, :, None] == true[:, None]).all(3)  # (B, C, K)
        empty = (true == true[..., :1]).all(2)
        return ~(same.flatten(1).any(1) | empty.any(1))

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        if self._options.method == "direct":
            return super().phases()
        return self.phase(CRITIC, self._to_tell), self.phase(GENERATOR, self._to_fool)

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """See the base class."""
        return self._apart(self.forward(models, batch)[MADE], batch)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the `image` (B, K, *S) that is made."""
        seen = self._seen(batch)
        return {MADE: self._corrected(seen, full(padded(models[self._maker], seen)))}

    def _corrected(self, seen: Tensor, found: Tensor) -> Tensor:
        """Return what a network says, or the channel that it corrects with what it adds."""
        return found if self._base is None else seen[:, [self._base]] + TENTH * found

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """Return the same of whole images, within 0 and 1."""
        model, seen = models[self._maker], self._seen(batch)
        with eval_mode(model):
            found = full(self._windows.map_of(model, seen))
        return {MADE: clipped(self._corrected(seen, found))}

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return how far the made images are from the true ones, (B,)."""
        return self._apart(predicted[MADE], batch)

    def _apart(self, made: Tensor, batch: Batch) -> Tensor:
        options = self._options
        losses = distances(made, self._truth(batch), power=options.power, share=options.ssim_weight)
        return losses * self._is_there(batch)

    def _to_fool(self, models: Models, batch: Batch) -> Tensor:
        made = self.forward(models, batch)[MADE]
        fools = softplus(-self._realness(models, batch, made))
        return self._options.closeness * self._apart(made, batch) + fools

    def _to_tell(self, models: Models, batch: Batch) -> Tensor:
        real = self._realness(models, batch, self._truth(batch))
        made = self._realness(models, batch, self.forward(models, batch)[MADE])
        return (softplus(-real) + softplus(made)) * self._is_there(batch)

    def _realness(self, models: Models, batch: Batch, images: Tensor) -> Tensor:
        """Return the discriminator's answers (B,)."""
        answers: Tensor = models[CRITIC](torch.cat([self._seen(batch), images], dim=1))
        return full(answers)[:, 0]

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """See the base class: beside what copying one of the channels that are given would reach."""
        others = [partial(self._copied, place) for place in range(len(self._source))]
        return ImageMetrics(self.job, COPIED, self._truth_and_scale, others, self._is_there)

    def _copied(self, place: int, batch: Batch) -> Tensor:
        return self._seen(batch)[:, place : place + 1].expand_as(self._truth(batch))

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: what was given, what was made of it, and what is true."""
        parts = [self._seen(batch), predicted[MADE], self._truth(batch)]
        there = self._is_there(batch).tolist()
        shown = [part.detach().float().cpu() for part in parts]
        return [self._look(*[part[n] for part in shown], is_there=there[n]) for n in range(len(batch))]

    def _look(self, seen: Tensor, made: Tensor, true: Tensor, *, is_there: bool) -> Look:
        given = [
            Shown(f"given: channel {channel + 1}", one[None].numpy())
            for channel, one in zip(self._source, seen, strict=True)
        ]
        pictures = (*given, Shown("made", made.numpy()), Shown("true", true.numpy()))
        if not is_there:
            return Look(float("nan"), "the true one is a copy of what was given", pictures=pictures)
        decibels, similar = float(psnr(made[None], true[None])), float(ssim(made[None], true[None]))
        return Look(decibels, f"{decibels:.1f} dB, SSIM {similar:.2f}", pictures=pictures)

    def program(self, models: Models) -> Program:
        """Return the network that makes images."""
        made: list[str | int] = [*(self._options.reference or ()), *(number + 1 for number in self._target)]
        return Program(
            Corrects(models[self._maker], self._source, [] if self._base is None else [self._base]),
            {"image": self.image_input()},
            "made",
            "the image that is made, within 0 and 1",
            {"source": [number + 1 for number in self._source], "target": made},
        )

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return each image that was made; where the true one is known, how close it is."""
        made = predicted[MADE].detach().cpu()
        cells: list[dict[str, Cell]] = [{} for _ in made]
        if "scale" in batch:
            true, there = self._truth(batch).cpu(), self._is_there(batch).tolist()
            found = zip(cells, psnr(made, true).tolist(), ssim(made, true).tolist(), there, strict=True)
            for own, decibels, similar, is_there in found:
                own.update({"psnr": decibels, "ssim": similar} if is_there else {})
        return [
            Answer(own, images={"made": FoundImage(image, "share")})
            for own, image in zip(cells, made, strict=True)
        ]
