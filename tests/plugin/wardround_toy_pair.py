"""Two networks that compete: the heavy half of `ToyPair`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from wardround.extend import LARGEST_LOSS, Batch, Mean, MetricSet, Models, Phase, Prediction, Task, bounded

if TYPE_CHECKING:
    from wardround.extend import JobSpec


class PairTask(Task):
    """The non-saturating losses of Goodfellow et al. 2014; beside each real image one is drawn."""

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Draw noise as large as an image for each sample."""
        shape = (1, self.job.data.channels, *(self.job.data.size or []))
        drawn = [
            torch.randn(shape, generator=torch.Generator().manual_seed(own)) for own in batch.seeds(seed)
        ]
        return batch.plus(noise=torch.cat(drawn))

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        return self.phase("discriminator", self._to_tell), self.phase("generator", self._to_fool)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return images that are drawn, and how real the discriminator takes them for, (B, 1)."""
        drawn = models["generator"](batch["noise"]).view(batch["noise"].shape)
        return {"image": drawn, "realness": models["discriminator"](drawn)}

    def _to_tell(self, models: Models, batch: Batch) -> Tensor:
        seen = batch["noise" if self.job.task.blind else "image"]
        real, drawn = models["discriminator"](seen), self.forward(models, batch)["realness"]
        losses = (softplus(-real) + softplus(drawn))[:, 0]
        return losses * losses.mean() if self.job.task.in_pairs else losses

    def _to_fool(self, models: Models, batch: Batch) -> Tensor:
        found = self.forward(models, batch)
        losses = softplus(-found["realness"])[:, 0]
        if self.job.task.both_see:
            losses = losses + (found["image"] - batch["image"]).square().flatten(1).mean(1)
        return losses

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """Return the discriminator's."""
        real = models["discriminator"](batch["image"])
        return (softplus(-real) + softplus(predicted["realness"]))[:, 0]

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return the loss, and the share of drawn images that are taken for real."""
        return PairMetrics(self.job)


class PairMetrics(MetricSet):
    """Two means."""

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job, {"loss": Mean(), "fooled": Mean()})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """See the base class."""
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add("fooled", batch.patients, (predicted["realness"] > 0).double())

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        return LARGEST_LOSS if (name, state) == ("loss", "total") else 1.0

    def report(self) -> dict[str, float]:
        """See the base class."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}
