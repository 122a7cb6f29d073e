"""Metrics of generation: how far drawn images are from real ones, from sums of their features."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, bounded
from shared.tasks.generation.drawing_options import KERNEL, DrawingOptions
from shared.tasks.generation.kernel import kernel_columns, kernel_distance, kernel_moments

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

REAL, DRAWN = "real", "drawn"


class GenerationMetrics(MetricSet):
    """Means of features and of their products, of real images and of those drawn beside them.

    The distance grows as fewer different images are behind it, and a bootstrap draws some twice and others
    never: its distances lie above that of the test, and are no interval of it.

    Args:
        job: What is judged.
        options: Of its task: how many numbers of an image are compared, D, and whether by the kernel too.
    """

    no_interval: ClassVar[Mapping[str, str]] = {
        "frechet": "it grows with fewer different images, and a bootstrap draws some of them twice",
        KERNEL: "it compares different images, and a bootstrap draws some of them twice",
    }

    def __init__(self, job: "JobSpec", options: DrawingOptions) -> None:
        self._features, self._by_kernel = options.features, options.kernel_distance
        columns = self._features + self._features * (self._features + 1) // 2
        metrics = {"loss": Mean(), REAL: Mean(columns), DRAWN: Mean(columns)}
        if self._by_kernel:
            metrics |= {f"{name}_{KERNEL}": Mean(kernel_columns(self._features)) for name in (REAL, DRAWN)}
        super().__init__(job, metrics)

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: features (B, D) within 0 and 1 of real and of drawn images.

        What an image is drawn from follows from the real one beside it, so it counts as that patient's.
        """
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        for name in (REAL, DRAWN):
            features = predicted[f"{name}_features"]
            self.add(name, batch.patients, bounded(moments(features), 1.0))
            if self._by_kernel:
                self.add(f"{name}_{KERNEL}", batch.patients, bounded(kernel_moments(features), 1.0))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        return LARGEST_LOSS if (name, state) == ("loss", "total") else 1.0

    def report(self) -> dict[str, float]:
        """See the base class."""
        real, drawn = (self._gaussian(name) for name in (REAL, DRAWN))
        found = {"loss": float(self.metrics["loss"].compute()), "frechet": frechet(*real, *drawn)}
        if self._by_kernel:
            means, drawn_means = (self.metrics[f"{name}_{KERNEL}"].compute() for name in (REAL, DRAWN))
            found[KERNEL] = kernel_distance(means, drawn_means, self._images(REAL), self._features)
        return found

    def _images(self, name: str) -> int:
        return int(torch.as_tensor(self.metrics[name].metric_state["count"])[0])

    def _gaussian(self, name: str) -> tuple[Tensor, Tensor]:
        """Return mean (D,) and covariance (D, D) of features; NaN of fewer than two images."""
        return gaussian(self.metrics[name].compute(), self._images(name), self._features)


def moments(features: Tensor) -> Tensor:
    """Return features (B, D) and their products, (B, D + D (D + 1) / 2), all of them within 0 and 1.

    Products are of distances from 0.5, so that their range is narrow: noise on bounded sums follows it.
    """
    features = features.double()
    rows, columns = torch.triu_indices(features.shape[1], features.shape[1]).to(features.device)
    away = features - 0.5
    return torch.cat([features, 0.5 + 2 * away[:, rows] * away[:, columns]], dim=1)


def gaussian(means: Tensor, images: int, features: int) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and covariance (D, D) of features from the means of `moments`.

    Noise of bounded sums can leave a covariance with directions of negative variance: those count as none.

    Args:
        means: (D + D (D + 1) / 2,).
        images: Whose sums they are; of fewer than two there is no covariance.
        features: D.
    """
    mean, products = means[:features], (means[features:] - 0.5) / 2
    if images < 2 or not bool(means.isfinite().all()):
        return mean, torch.full((features, features), torch.nan, dtype=means.dtype)
    rows, columns = torch.triu_indices(features, features)
    second = torch.zeros(features, features, dtype=means.dtype)
    second[rows, columns] = products
    second[columns, rows] = products
    away = mean - 0.5
    values, vectors = torch.linalg.eigh((second - torch.outer(away, away)) * images / (images - 1))
    return mean, (vectors * values.clamp(min=0)) @ vectors.T


def frechet(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Return the squared Fréchet distance of two normal distributions; NaN where one has no covariance.

    |m - n|² + tr(A + B - 2 (A^½ B A^½)^½) (Dowson and Landau 1982; Heusel et al. 2017, equation 6).
    """
    both = torch.stack([covariance, other_covariance])
    if not bool(both.isfinite().all()):
        return float("nan")
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + both.diagonal(dim1=1, dim2=2).sum() - 2 * overlap
    return max(0.0, float(distance))
