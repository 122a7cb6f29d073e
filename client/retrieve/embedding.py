"""The features by which images are compared."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from client.predict.answering import Predictor
from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.further_metrics.feature_moments import FEATURES
from shared.tasks.answers import Answer


@dataclass(frozen=True)
class Embedded(Answer):
    """What is known of a sample.

    Attributes:
        vector: Features (N,) of length 1, in main memory.
    """

    vector: Tensor = field(default_factory=lambda: torch.empty(0))


class Embedder(Predictor):
    """Says of each row the features that the network's last layer sees, brought to length 1."""

    def require_features(self) -> None:
        """Make sure that the job's network is one that gives an image a class.

        Raises:
            RunError: It is not.
        """
        found = self.job.task.classified()
        inputs = [own.kind for own in self.job.task.fields().values() if own.role == "input"]
        if found is None or found[1].kind != "label" or inputs != ["image"]:
            raise RunError(
                f"the task '{self.job.task.name}' has no features of whole images to compare",
                remedy="Take a run of a classification of images.",
            )

    @property
    def sees_features(self) -> bool:
        """See the base class."""
        return True

    def answers_of(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """See the base class."""
        vectors = normalize(predicted[FEATURES].detach().double().flatten(1)).cpu()
        return [Embedded({}, vector=vector) for vector in vectors]
