"""Which images each step of a round takes: shuffled passes over a site's images, in an order of its own.

Three things of it could be read from updates. The number of steps would tell how many images there are: it
follows from the rounded number, which the site tells anyhow. Two updates whose steps differ by one would tell
that step's images: every job has an order of its own, drawn with the site's key. And an update of nearly a
whole pass, taken from one of the whole pass, would tell the few images between: steps are rounded to whole
passes where they are so near to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.data.manifest.splits import CohortKey
from client.settings.policy import rounded
from client.training.class_balance import ClassGroups
from shared.job.schema import JobSpec
from shared.job.training_options import TrainingTable

_ROUND_TO = 10


@dataclass(frozen=True)
class SampleOrder:
    """The order of one job at one site.

    Attributes:
        key: The site's.
        job: Digest.
        seed: Of the job, and of the model where it is masked.
        site: Its name.
        images: How many there are.
        batches_per_pass: Of nearly the same size; together they hold every image once.
        steps: Of a round.
        continued: Whether a round goes on in the pass in which the last one ended.
        classes: The images by class, where each class is taken as often as the others.
    """

    key: CohortKey
    job: str
    seed: int
    site: str
    images: int
    batches_per_pass: int
    steps: int
    continued: bool
    classes: ClassGroups | None = None

    @classmethod
    def of(
        cls,
        job: JobSpec,
        images: int,
        *,
        seed: int,
        key: CohortKey,
        site: str,
        round_to: int,
        least: int,
        steps: int | None = None,
        classes: ClassGroups | None = None,
    ) -> "SampleOrder":
        """Return the order of a job.

        Args:
            job: Says how long a round is.
            images: To train on.
            seed: Of the training.
            key: The site's.
            site: Its name.
            round_to: The policy's `round_counts_to`.
            least: The policy's `min_patients_in_update`.
            steps: Of a round; None takes what the job says.
            classes: Of a job that samples by class.
        """
        if classes is None and job.training.sampling == "class-balanced":
            raise ValueError("sampling by class needs the class of each image")
        batches = batches_per_pass(images, job.training.batch_size, round_to)
        if steps is None:
            steps = steps_of(job.training, images, round_to, least)
        continued = job.training.passes == "continued"
        return cls(key, job.digest(), seed, site, images, batches, steps, continued, classes)

    @classmethod
    def public(
        cls,
        job: JobSpec,
        images: int,
        site: str,
        steps: int | None = None,
        classes: ClassGroups | None = None,
    ) -> "SampleOrder":
        """Return an order that whoever knows the job can tell: for what stays on this machine."""
        return cls.of(
            job,
            images,
            seed=job.job.seed,
            key=CohortKey.drawn(job.job.seed),
            site=site,
            round_to=_ROUND_TO,
            least=1,
            steps=steps,
            classes=classes,
        )

    def batches(self, round_: int) -> Iterator[list[int]]:
        """Yield the images of each step of a round, as indices."""
        first = (round_ - 1) * self.steps if self.continued else 0
        for step in range(first, first + self.steps):
            number, batch = divmod(step, self.batches_per_pass)
            if batch == 0 or step == first:
                of_round = 0 if self.continued else round_
                seed = self.key.seed(self.job, self.seed, "order", self.site, of_round, number)
                parts = np.array_split(self._pass(np.random.default_rng(seed)), self.batches_per_pass)
            yield parts[batch].tolist()

    def _pass(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.classes is None:
            return rng.permutation(self.images)
        return np.array(self.classes.drawn(rng, self.images))


def batches_per_pass(images: int, batch_size: int, round_to: int) -> int:
    """Return into how many batches a pass over the images is cut.

    It depends on nothing but the rounded number of images, where there are at least 5. No batch is empty, and
    none has a single image unless the job asks for that: batch norm can't train on one.
    """
    told = rounded(images, round_to)
    surely_there = told - round_to // 2  # the least number that is rounded so
    alone = 1 if batch_size == 1 else 2
    return max(1, min(-(-told // batch_size), surely_there // alone, images // alone))


def steps_of(training: TrainingTable, images: int, round_to: int, least: int) -> int:
    """Return the optimiser steps of one round on the images.

    Args:
        training: Of the job.
        images: To train on.
        round_to: The policy's `round_counts_to`.
        least: The policy's `min_patients_in_update`, also of what differs from whole passes.
    """
    whole = batches_per_pass(images, training.batch_size, round_to)
    if training.local_steps is None:
        assert training.local_epochs is not None  # noqa: S101 (the job has one of the two)
        return training.local_epochs * whole
    passes, part = divmod(training.local_steps, whole)
    each = rounded(images, round_to) / whole
    few = 2 * least if least > 1 else 0  # images: hardly all of fewer than `least` patients
    if passes and part * each < few:
        return passes * whole
    if part and (whole - part) * each < few:
        return (passes + 1) * whole
    return training.local_steps
