"""What a site may say of its data and of its work: bounded by what it described when the run began.

A site can lie about how much it has. It can't say one number when the run begins and another one later, and
no number beyond what a hospital can have.
"""

from shared.job import JobSpec
from shared.messages import Description, Evaluation, MessageError, Update
from shared.metrics import MetricSet

MOST_IMAGES = 2**24  # of one site in one split, 17 million; patients too
_LARGEST_LOSS = 1e6  # the mean over an epoch; a network whose loss is so large has diverged
_LONGEST = 1e7  # seconds, 115 days


def check_description(description: Description) -> None:
    """Check what a site says that it has.

    Raises:
        MessageError: No hospital has so much.
    """
    for what, counts in (("patients", description.patients), ("images", description.examples)):
        for split, count in counts.items():
            if count > MOST_IMAGES:
                raise MessageError(f"describes more {what} ({split}) than {MOST_IMAGES:,}")


def check_update(update: Update, description: Description) -> None:
    """Check what goes with an update.

    Raises:
        MessageError: It stands for more images than the site described, or its loss or time can't be.
    """
    described = description.examples["train"]
    if update.examples == 0:
        raise MessageError("trained on no examples")
    if update.examples > described:
        raise MessageError(f"trained on {update.examples} images, and described {described}")
    if abs(update.loss) > _LARGEST_LOSS:
        raise MessageError(f"has a training loss beyond {_LARGEST_LOSS:g}")
    _check_seconds(update.seconds)


def check_evaluation(
    evaluation: Evaluation, description: Description, split: str, metrics: MetricSet, job: JobSpec
) -> None:
    """Check what a site says of a model.

    Args:
        evaluation: What it says.
        description: What it said that it has.
        split: Which part of it was asked about.
        metrics: Empty; knows which numbers so many images can give.
        job: Under its differential privacy a site doesn't describe how much it has.

    Raises:
        MessageError: It stands for more images than were described, or no such images give these numbers.
    """
    described = MOST_IMAGES if job.privacy.mechanism == "dp-sgd" else description.examples[split]
    if evaluation.examples > described:
        raise MessageError(f"evaluated {evaluation.examples} images, and described {described}")
    _check_seconds(evaluation.seconds)


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds <= _LONGEST:
        raise MessageError(f"says that it worked for {seconds:g} s")
