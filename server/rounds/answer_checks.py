"""What a site may say of its data and of its work: bounded by what it described when the run began.

A site can lie about how much it has. It can't say one number when the run begins and another one later, and
no number beyond what a hospital can have.
"""

import numpy as np
import torch
from torch import Tensor

from server.rounds.description_check import MOST_IMAGES
from shared.job.schema import JobSpec
from shared.limits import MOST_ROUNDING
from shared.metrics.grouped import GroupedMetrics
from shared.metrics.histograms import CalibrationBins
from shared.metrics.states import Mean, MetricSet
from shared.strategies.exact_mean import in_range
from shared.wire.messages import Description, Evaluation, MessageError, Update

_LARGEST_LOSS = 1e6  # the mean over an epoch; a network whose loss is so large has diverged
_LONGEST = 1e7  # seconds, 115 days
_SLACK = 1e-3  # of a sum, for each image: sums of floating-point numbers are not exact


def check_update(update: Update, description: Description, weight: int) -> None:
    """Check an update and what goes with it.

    Args:
        update: What the site says.
        description: What it said that it has.
        weight: Of the update in a mean.

    Raises:
        MessageError: It stands for more images than the site described, its loss or time can't be, or a
            number of it can't be added up.
    """
    described = description.examples["train"]
    if update.examples == 0:
        raise MessageError("trained on no examples")
    if update.examples > described:
        raise MessageError(f"trained on {update.examples} images, and described {described}")
    if abs(update.loss) > _LARGEST_LOSS:
        raise MessageError(f"has a training loss beyond {_LARGEST_LOSS:g}")
    _check_seconds(update.seconds)
    if not in_range(update.vector, weight):
        raise MessageError("carries a number too large to be added up")


def check_evaluation(
    evaluation: Evaluation, description: Description, split: str, metrics: GroupedMetrics, job: JobSpec
) -> None:
    """Check what a site says of a model, and take up its metric states.

    Args:
        evaluation: What it says.
        description: What it said that it has.
        split: Which part of it was asked about.
        metrics: Empty; gets the states.
        job: Under its differential privacy a site doesn't describe how much it has.

    Raises:
        MessageError: It stands for more images than were described, or no such images give these numbers.
        ValueError: The states are none of this task.
    """
    described = MOST_IMAGES if job.privacy.mechanism == "dp-sgd" else description.examples[split]
    if evaluation.examples > described:
        raise MessageError(f"evaluated {evaluation.examples} images, and described {described}")
    _check_seconds(evaluation.seconds)
    metrics.merge(evaluation.states)
    images = evaluation.examples + MOST_ROUNDING if evaluation.examples else 0  # states count every image
    if (np.abs(evaluation.states) > metrics.limits(images) + _SLACK * images).any():
        raise MessageError(f"has metric states that {evaluation.examples} images can't give")
    for part in metrics.parts():
        _check_states(part, images)


def _check_states(metrics: MetricSet, images: int) -> None:
    """Check that sums agree with their counts, of all patients or of a group of them."""
    for name, metric in metrics.metrics.items():
        if isinstance(metric, Mean):
            values = metric.total.abs() if metrics.is_signed(name) else metric.total
            _within(name, values, metric.count * metrics.limit(name, "total"), images)
        elif isinstance(metric, CalibrationBins):
            _within(name, metric.correct, metric.count, images)
            _within(name, metric.confidence, metric.count, images)
        elif name == "decisions":
            states = [torch.as_tensor(state) for state in metric.metric_state.values()]  # tp, fp, tn, fn
            _check_decisions(torch.stack(states).sum(dim=0), metrics)


def _within(name: str, values: Tensor, largest: Tensor, images: int) -> None:
    """Check that sums are between 0 and what their counts can give."""
    if bool((values < -_SLACK * images).any()) or bool((values > largest + _SLACK * images).any()):
        raise MessageError(f"has a '{name}' that its own counts can't give")


def _check_decisions(judged: Tensor, metrics: MetricSet) -> None:
    """Check that every class was judged on the same images, or on none, and on those that have a loss."""
    loss = metrics.metrics["loss"]
    images = loss.count if isinstance(loss, Mean) and loss.count.any() else judged.max()  # losses may stay
    if not bool(((judged == images) | (judged == 0)).all()):
        raise MessageError("judges the classes on other images than it has losses of, or than other classes")


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds <= _LONGEST:
        raise MessageError(f"says that it worked for {seconds:g} s")
