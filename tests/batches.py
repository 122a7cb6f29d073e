"""Batches for the tests of tasks whose networks give logits."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.further_metrics.feature_moments import FEATURES
from shared.further_metrics.robust_accuracy import ATTACKED
from shared.metrics.states import MetricSet
from shared.tasks.base import Task


def batch_of(
    task: Task,
    targets: Tensor,
    patients: Sequence[str],
    spacing: Sequence[float] | None = None,
) -> Batch:
    """Return a batch of targets alone: what judging a prediction needs."""
    [target] = task.targets
    return Batch({target: targets}, patients, spacing)


def judge(
    task: Task, metrics: MetricSet, logits: Tensor, targets: Tensor, patients: Sequence[str], **more: Any
) -> None:
    """Add logits (B, K, *S) and the targets to metrics, as an evaluation does; more as for `batch_of`."""
    features = torch.nn.functional.normalize(logits.flatten(1)[:, :32].repeat(1, 32)[:, :32])
    predicted = {"logits": logits, ATTACKED: logits, FEATURES: features}
    batch = batch_of(task, targets, patients, **more)
    task.update(metrics, predicted, batch, task.sample_losses({}, batch, predicted))


def sample_losses(task: Task, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the losses (B,) of logits, as an evaluation reports them."""
    return task.sample_losses({}, batch_of(task, targets, [""] * len(targets)), {"logits": logits})


def training_loss(task: Task, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss that training minimises, a scalar, of a network that gives these logits."""

    class Given(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return logits

    batch = batch_of(task, targets, [""] * len(targets)).plus(image=logits)
    [phase] = task.phases()
    return phase.loss({"model": Given()}, batch).mean()


def predict(task: Task, model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits that a task's one network predicts for images (B, C, *S)."""
    return task.predict({"model": model}, Batch({"image": images}, [""] * len(images)))["logits"]
