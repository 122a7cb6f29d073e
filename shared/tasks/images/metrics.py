"""Metrics of tasks whose answer is an image: means over images, beside those of what was given."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, bounded
from shared.tasks.images.closeness import MOST_DECIBELS, clipped, mae, psnr, ssim

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

LARGEST_ERROR = 2.0**16  # in a file's units: what is above counts as this
MADE = "image"
"""Name of what is predicted: an image (B, C, *S)."""

Pick = Callable[[Batch], Tensor]
"""Returns images (B, C, *S) of a batch."""

Truth = Callable[[Batch], tuple[Tensor, Tensor]]
"""Returns the true images of a batch (B, C, *S), and what 0 and 1 of their channels stand for (B, C, 2)."""


class ImageMetrics(MetricSet):
    """PSNR, SSIM and MAE of the answers, and of one or several images that could be given in their place.

    Of several, a table has the one that is closest over all images.

    Args:
        job: What is judged.
        before: See `shared.tasks.images.specs.specs`.
        truth: None where there are no true images, and only losses are added up.
        others: Return the images that could be given instead.
        counted: Says which images are judged (B,); None for all.
    """

    signed = frozenset({"psnr", "ssim", "psnr_before", "ssim_before"})

    def __init__(
        self,
        job: "JobSpec",
        before: str,
        truth: Truth | None,
        others: Sequence[Pick],
        counted: Pick | None = None,
    ) -> None:
        self._before, self._truth, self._others, self._counted = before, truth, others, counted
        own = {} if truth is None else {"psnr": Mean(), "ssim": Mean(), "mae": Mean()}
        beside = {f"{name}_before": Mean(len(others)) for name in own}
        super().__init__(job, {"loss": Mean(), **own, **beside})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: images (B, C, *S) that were made; what is out of 0 to 1 counts as its end."""
        counted = None if self._counted is None else self._counted(batch)[:, None]
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS), counted)
        if self._truth is None:
            return
        true, scale = self._truth(batch)
        columns = [self._of(predicted[MADE], true, scale)]
        columns += [self._of(other(batch), true, scale) for other in self._others]
        for number, name in enumerate(("psnr", "ssim", "mae")):
            values = torch.stack([column[number] for column in columns], dim=1)
            values = bounded(values, self.largest(name, "total"))
            self.add(name, batch.patients, values[:, :1], counted)
            beside = None if counted is None else counted.expand(-1, len(self._others))
            self.add(f"{name}_before", batch.patients, values[:, 1:], beside)

    def _of(self, image: Tensor, true: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image = clipped(image)
        return psnr(image, true), ssim(image, true), mae(image, true, scale)

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if state != "total":
            return 1.0
        known = {"loss": LARGEST_LOSS, "psnr": MOST_DECIBELS, "mae": LARGEST_ERROR}
        return known.get(name.removesuffix("_before"), 1.0)

    def report(self) -> dict[str, float]:
        """See the base class."""
        values = {name: metric.compute().reshape(-1) for name, metric in self.metrics.items()}
        found = {"loss": float(values["loss"])}
        if self._truth is None:
            return found
        psnr_before, ssim_before = (float(values[f"{name}_before"].max()) for name in ("psnr", "ssim"))
        return {
            **found,
            **{name: float(values[name]) for name in ("psnr", "ssim", "mae")},
            "psnr_gain": float(values["psnr"]) - psnr_before,
            f"psnr_{self._before}": psnr_before,
            f"ssim_{self._before}": ssim_before,
            f"mae_{self._before}": float(values["mae_before"].min()),
        }
