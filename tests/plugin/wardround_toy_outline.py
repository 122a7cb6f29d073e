"""The heavy half of `ToyOutline`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wardround.extend import (
    LARGEST_LOSS,
    Batch,
    ClassesTask,
    Mean,
    MetricSet,
    Prediction,
    Rivals,
    Tables,
    bounded,
)

if TYPE_CHECKING:
    from wardround.extend import JobSpec


class OutlineTask(ClassesTask):
    """A network that takes images of any size."""

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return the share of the pixels that are right, and how it differs between images."""
        return OutlineMetrics(self.job)


class OutlineMetrics(MetricSet):
    """Two means."""

    no_interval: ClassVar[Mapping[str, str]] = {"spread": "nobody asked for one"}

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job, {"loss": Mean(), "right": Mean(), "spread": Mean()})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """See the base class."""
        right = (predicted["logits"].argmax(1) == batch["outline"]).double().flatten(1).mean(1, keepdim=True)
        self.add("loss", batch.patients, bounded(losses[:, None], LARGEST_LOSS))
        self.add("right", batch.patients, right)
        self.add("spread", batch.patients, (right - right.mean()).abs())

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: a coin."""
        return Rivals({"constant": {"right": 0.5}})

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        return LARGEST_LOSS if (name, state) == ("loss", "total") else 1.0

    def report(self) -> dict[str, float]:
        """See the base class."""
        return {name: float(self.metrics[name].compute()) for name in ("loss", "right", "spread")}
