"""The features by which images are compared."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from client.data.samples.site_data import Samples
from client.predict.answering import Predictor
from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.networks.features import last_features
from shared.tasks.answers import Answer

_VECTORS = "vectors"


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

    def run(self, samples: Samples) -> Iterator[tuple[Batch, Prediction]]:
        """See the base class; with the features.

        Raises:
            RunError: The network has no layer that sees a vector for each image.
        """
        with last_features(list(self.models.values())) as seen:
            for batch, predicted in super().run(samples):
                if not seen:
                    raise RunError(
                        "the network ends in no linear layer, which would have features to compare"
                    )
                yield batch, {**predicted, _VECTORS: seen[0]}

    def answers_of(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """See the base class."""
        vectors = normalize(predicted[_VECTORS].detach().double().flatten(1)).cpu()
        return [Embedded({}, vector=vector) for vector in vectors]
