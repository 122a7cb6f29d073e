"""How unusual an image is to a network, from sums of what was usual."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from scipy.stats import chi2
from torch import Tensor

from shared.further_metrics.feature_moments import ENERGIES, FeatureMoments
from shared.further_metrics.options import classified_as

if TYPE_CHECKING:
    from shared.tasks.options import TaskOptions

_RARE = 0.01  # share of what was usual that is called unusual
_SHRUNK = 1e-3  # share of the mean variance that is added to each: sums may be bounded and have noise


@dataclass(frozen=True)
class Familiar:
    """What was usual.

    Attributes:
        means: Of the features of each class (K, N), NaN where it had no image.
        precision: Inverse of the covariance within the classes (N, N).
        spread: Trace of that covariance.
        farthest: Distance beyond which an image is unusual: 99 % of a Gaussian's lie within.
        least: Energy below which it is: that of 1 % of the images, as far as the bins tell.
    """

    means: Tensor
    precision: Tensor
    spread: float
    farthest: float
    least: float

    @classmethod
    def of(cls, asked: FeatureMoments, task: "TaskOptions", columns: Tensor) -> Self:
        """Return what follows from the mean of each column of the metric."""
        [(_, label)] = classified_as(task, "label")
        classes, number = len(label.classes), asked.features
        shares, means, moments, energies = columns.double().split(
            [classes, classes * number, number * (number + 1) // 2, ENERGIES[2]]
        )
        means = means.view(classes, number)
        second = torch.zeros(number, number, dtype=torch.float64)
        row, column = torch.triu_indices(number, number)
        second[row, column] = second[column, row] = moments
        known = means.nan_to_num()
        within = second - torch.einsum("k,ki,kj->ij", shares, known, known)
        values, vectors = torch.linalg.eigh(within.nan_to_num())
        values = values.clamp(min=0)
        values = values + _SHRUNK * values.mean().clamp(min=1e-9)
        low, high, bins = ENERGIES
        rare = int((energies.nan_to_num().cumsum(0) <= _RARE).sum())
        return cls(
            means,
            vectors / values @ vectors.T,
            float(within.trace()),
            float(chi2.ppf(1 - _RARE, max(1, int((second.diagonal() > 0).sum())))) ** 0.5,
            low + rare * (high - low) / bins,
        )

    def distances(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance of features (B, N) to the nearest class (B,).

        Lee et al., NeurIPS 2018, equation 2; features have length 1 before (Mueller and Hein, ICML 2025).
        """
        apart = features.double().cpu()[:, None] - self.means
        squares = torch.einsum("bki,ij,bkj->bk", apart, self.precision, apart)
        return squares.nan_to_num(nan=torch.inf).amin(dim=1).clamp(min=0).sqrt()

    def cells(self, features: Tensor, logits: Tensor) -> list[dict[str, str | float]]:
        """Return of each image its distance, its energy, and whether it is unusual by one of them.

        The energy is the log-sum-exp of the logits (Liu et al., NeurIPS 2020, equation 4, without its sign).
        """
        distances = self.distances(features).tolist()
        energies = logits.double().cpu().logsumexp(dim=1).tolist()
        return [
            {
                "distance": distance,
                "energy": energy,
                "unusual": "yes" if distance > self.farthest or energy < self.least else "no",
            }
            for distance, energy in zip(distances, energies, strict=True)
        ]
