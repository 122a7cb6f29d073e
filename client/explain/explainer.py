"""Explains what networks say of the samples of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from client.explain.methods import METHODS
from client.explain.subject import Subject
from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.networks.modes import asked
from shared.seeds import seed_of
from shared.tasks.base import Models, Task
from shared.tasks.explained import Explained
from shared.text.names import suggestion


@dataclass(frozen=True)
class Reasons:
    """Why networks say what they say of one sample.

    Attributes:
        about: What is explained, in words.
        maps: By method: (*S), above zero where the image speaks for it; as large as the network sees it.
    """

    about: str
    maps: Mapping[str, Tensor]


@dataclass(frozen=True)
class Explainer:
    """Methods, and what they are asked.

    Attributes:
        methods: Names from `METHODS`.
        of: The class that is explained; None takes what was predicted.
        others: Images to compare with, (C, *S) each, by their field.
    """

    methods: Sequence[str]
    of: str | None = None
    others: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)

    @property
    def compares(self) -> bool:
        """Whether a method compares an image with others."""
        return "shap" in self.methods

    def require_known(self) -> None:
        """Make sure that all methods are there.

        Raises:
            RunError: One is not.
        """
        for name in self.methods:
            if name not in METHODS:
                raise RunError(f"unknown method '{name}'; {suggestion(name, METHODS)}", where="--explain")

    def reasons(self, task: Task, models: Models, batch: Batch, predicted: Prediction) -> list[Reasons]:
        """Return why the networks say what they say of each sample.

        Args:
            task: Of the networks.
            models: The networks.
            batch: Prepared, on their device.
            predicted: What `predict` returned for it.

        Raises:
            RunError: The task explains nothing, has no such class, or a method can't be had with the network.
        """
        found = task.explained(predicted, self.of)
        if not found:
            raise RunError(
                f"the task '{task.job.task.name}' has no single number of an image to explain",
                where="--explain",
                remedy="It is for classification of images, and survival with an image.",
            )
        with asked(list(models.values())):
            return [self._of(task, models, batch.chosen([place]), own) for place, own in enumerate(found)]

    def _of(self, task: Task, models: Models, sample: Batch, own: Explained) -> Reasons:
        def score(images: Tensor) -> Tensor:
            changed = sample.chosen([0] * len(images)).plus(**{own.field: images})
            return own.score(models, changed)

        image = sample[own.field]
        others = [other for other in self.others.get(own.field, ()) if other.shape == image.shape[1:]]
        others = [other for other in others if not torch.equal(other.to(image), image[0])]
        seed = seed_of(task.job.job.seed, "explain", *sample.keys)
        networks = list(models.values())
        stacked = torch.stack(others).to(image) if others else image[:0]
        subject = Subject(score, image, stacked, networks, seed)
        return Reasons(own.says, {name: METHODS[name](subject).detach().float() for name in self.methods})
