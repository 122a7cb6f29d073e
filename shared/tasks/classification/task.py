"""Classification of images: two classes, several, or several labels per image."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.further_metrics.feature_moments import FEATURES, FeatureMoments
from shared.further_metrics.robust_accuracy import ATTACKED, RobustAccuracy
from shared.metrics.curves import check_edges, fine_edges, first_edges
from shared.metrics.states import MetricSet
from shared.networks.features import last_features, projected
from shared.networks.modes import asked
from shared.seeds import seed_of
from shared.tasks.answers import Answer, Cell
from shared.tasks.attacks import Attack
from shared.tasks.base import Models
from shared.tasks.classes import LOGITS, ClassesTask, classified_by
from shared.tasks.classification.metrics import ClassificationMetrics
from shared.tasks.classification.options import Classification
from shared.tasks.explained import Explained
from shared.tasks.fields import fields_of
from shared.tasks.look import Look
from shared.tasks.losses import SampleLoss
from shared.tasks.programs import Program
from shared.tasks.record_task import RecordTask
from shared.text.names import suggestion

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_SHARE, _OTHER = "mixup_share", "mixup_other"
_NEED_MORE = FeatureMoments | RobustAccuracy  # metrics of more than the logits


class ClassificationTask(ClassesTask):
    """One output per class of the target that `TaskOptions.classified` names.

    Targets are int64 (B,) with the class, or float32 (B, K) with 0 and 1 where a sample may have several.
    """

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job)
        self._label = classified_by(job)[1]
        fields = fields_of(job).items()
        self._image = next((name for name, own in fields if own.kind == "image"), None)
        self._mixup = job.task.mixup if isinstance(job.task, Classification) else None

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """See the base class; and what metrics that the job asks for need besides the logits."""
        asked_for = [own for own in self.job.evaluation.metrics if isinstance(own, _NEED_MORE)]
        if not asked_for:
            return super().predict(models, batch)
        with last_features(list(models.values())) as seen:
            found = dict(super().predict(models, batch))
        for own in asked_for:
            if isinstance(own, FeatureMoments):
                found[FEATURES] = projected(self._last(seen), own.features, self.job.job.seed)
            elif self.target in batch:
                images = self._attacked(Attack.of(self.job, own.epsilon, own.steps), models, batch)
                changed = batch.plus(**{self.input: images})
                found[ATTACKED] = super().predict(models, changed)[LOGITS]
        return found

    def _last(self, seen: Sequence[torch.Tensor]) -> torch.Tensor:
        if not seen:
            raise RunError(f"the network ends in no linear layer, so '{self.job.job.name}' has no features")
        return seen[0].float()

    def _attacked(self, attack: Attack, models: Models, batch: Batch) -> torch.Tensor:
        def losses(images: torch.Tensor) -> torch.Tensor:
            changed = batch.plus(**{self.input: images})
            return self.sample_losses(models, changed, self.forward(models, changed))

        with asked(models.values()):
            return attack.on(batch[self.input], losses, batch.seeds(seed_of(self.job.job.seed, "attack")))

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """See the base class; for mixup with each image's share (B,) and the place of the other image (B,).

        The images of a batch stand in a drawn order, and each is mixed with the one before it.
        """
        batch = super().prepare(batch, seed)
        if self._mixup is None:
            return batch
        sources = [np.random.default_rng(own) for own in batch.seeds(seed)]
        shares = [source.beta(self._mixup, self._mixup) for source in sources]
        order = np.argsort([source.random() for source in sources], kind="stable")
        others = np.empty_like(order)
        others[order] = np.roll(order, 1)
        return batch.plus(**{_SHARE: torch.tensor(shares).float(), _OTHER: torch.from_numpy(others)})

    def _training_losses(self, loss: SampleLoss, models: Models, batch: Batch) -> Tensor:
        """Return the losses (B,), of mixtures (Zhang et al. 2018) those of both labels, each by its share."""
        if self._mixup is None:
            return super()._training_losses(loss, models, batch)
        own, targets, share, other = (batch[name] for name in (self.input, self.target, _SHARE, _OTHER))
        of_image = share.view(-1, *[1] * (own.dim() - 1))
        logits = self.logits(models["model"], of_image * own + (1 - of_image) * own[other]).float()
        return share * loss(logits, targets) + (1 - share) * loss(logits, targets[other])

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return the class of each image, by several labels any number of them, and a score of each class."""
        logits, classes, several = predicted[LOGITS].cpu().double(), self._label.classes, self._label.several
        scores = logits.sigmoid() if several else logits.softmax(dim=1)
        decided = logits > 0 if several else _is_one(logits.max(dim=1).indices, len(classes))
        truth = None
        if self.target in batch:
            target = batch[self.target].cpu()
            truth = target > 0 if several else _is_one(target, len(classes))
        found = []
        for number in range(len(batch)):
            cells: dict[str, Cell] = {"predicted": self._named(decided[number])}
            if truth is not None:
                cells["true"] = self._named(truth[number])
            cells |= {
                f"score/{name}": float(score) for name, score in zip(classes, scores[number], strict=True)
            }
            found.append(Answer(cells))
        return found

    def explained(self, predicted: Prediction, of: str | None = None) -> list[Explained]:
        """See the base class: the logit of a class, here of the one with the highest."""
        image, names = self._image, self._label.classes
        if image is None:
            return []
        if of is not None and of not in names:
            raise RunError(f"there is no class '{of}'; {suggestion(of, names)}", where=self.job.job.name)
        places = predicted[LOGITS].argmax(dim=1).tolist()
        chosen = places if of is None else [names.index(of)] * len(places)
        return [
            Explained(image, f"what speaks for {names[place]}", partial(self._logit, place))
            for place in chosen
        ]

    def _logit(self, place: int, models: Models, batch: Batch) -> torch.Tensor:
        return self.forward(models, batch)[LOGITS][:, place]

    def program(self, models: Models) -> Program | None:
        """Return the network: images to a logit of each class."""
        inputs = {self.input: self.image_input()}
        return Program(models["model"], inputs, LOGITS, self._meaning, self._facts)

    @property
    def _meaning(self) -> str:
        several = self._label.several
        how = "each by itself through a sigmoid" if several else "together through a softmax"
        return f"a logit of each class; {how}, they are its scores"

    @property
    def _facts(self) -> dict[str, object]:
        return {"classes": list(self._label.classes), "several": self._label.several}

    def _named(self, has: torch.Tensor) -> str:
        return "|".join(name for name, there in zip(self._label.classes, has.tolist(), strict=True) if there)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty classification metrics."""
        given = self.first_edges(self.job.evaluation.bins) if edges is None else edges
        return ClassificationMetrics(self.job, given)

    def looks(self, predicted: Prediction, batch: Batch) -> Sequence[Look]:
        """See the base class: the true class and the predicted one; the likelier the true one, the better."""
        if self._label.several:
            return ()
        shares = predicted[LOGITS].float().softmax(dim=1).cpu()
        return [
            self._look(share.tolist(), int(true))
            for share, true in zip(shares, batch[self.target].tolist(), strict=True)
        ]

    def _look(self, shares: list[float], true: int) -> Look:
        found, names = max(range(len(shares)), key=shares.__getitem__), self._label.classes
        return Look(shares[true], f"true: {names[true]}; the model: {names[found]} ({shares[found]:.2f})")

    def first_edges(self, bins: int) -> NDArray[np.float64]:
        """See the base class; shape (classes whose scores are judged, bins - 1)."""
        centre = -math.log(len(self._label.classes) - 1) if self._label.exclusive else 0.0
        return first_edges(self._judged, bins, centre)

    def fine_edges(self) -> NDArray[np.float64]:
        """See the base class: as good as exact scores."""
        return fine_edges(self._judged)

    def check_edges(self, edges: NDArray[np.generic] | None, most: int) -> NDArray[np.float64] | None:
        """See the base class."""
        if edges is None:
            return self.first_edges(most)
        return check_edges(edges, self._judged, most)

    @property
    def _judged(self) -> int:
        return len(self._label.judged)


class RecordClassificationTask(RecordTask, ClassificationTask):
    """The same from the columns of a table, or from an image and them."""

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the logits (B, K)."""
        return {LOGITS: self.outputs(models, batch)}

    def program(self, models: Models) -> Program:
        """Return the networks with the scale of the columns."""
        return self.program_of(models, LOGITS, self._meaning, self._facts)


def _is_one(indices: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(indices, classes).bool()
