"""Sampling by class: each pass over a site's images takes every class as often as the others.

Within a class patients take turns, and the images of a patient: one with many images of a rare class counts
no more than one with a single image. A pass is as long as otherwise, so steps tell nothing of the classes.

Where a job learns from images without a label too, half of a pass are such: each once before one comes twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.tasks.fields import UNKNOWN_LABEL
from shared.tasks.unlabelled.agreement import are_known


class LabelledSamples(Protocol):
    """Samples with the patient of each."""

    patients: list[str]

    def __len__(self) -> int: ...
    def batch(self, indices: Sequence[int]) -> Batch: ...  # noqa: D102


@dataclass(frozen=True)
class ClassGroups:
    """The images of a site by class and patient.

    Attributes:
        images: For each class that there is, the images of each of its patients, as indices; a class of those
            without a label is there as often as all others together.
    """

    images: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def of(cls, job: JobSpec, targets: Tensor | None, patients: Sequence[str]) -> "ClassGroups | None":
        """Return the groups of a job that samples by class, or by who has a label; None for every other job.

        Args:
            job: Says how it samples; its rules let it have one label per image.
            targets: (N,) int64, the class of each training image; `UNKNOWN_LABEL` for none.
            patients: Of each.
        """
        by_class, by_label = job.training.sampling == "class-balanced", job.task.learns_unlabelled
        if targets is None or not (by_class or by_label):
            return None
        classes = targets if by_class else targets.clamp(UNKNOWN_LABEL, 0)
        images: dict[int, dict[str, list[int]]] = {}
        for index, (own, patient) in enumerate(zip(classes.tolist(), patients, strict=True)):
            turn = patient if by_class and own != UNKNOWN_LABEL else ""  # where it is "", images take turns
            images.setdefault(own, {}).setdefault(turn, []).append(index)
        if not by_class and len(images) < 2:
            return None
        without = images.pop(UNKNOWN_LABEL, None)
        groups = [images[own] for own in sorted(images)]
        if without is not None:
            groups += [without] * max(1, len(groups))
        return cls(tuple(tuple(tuple(own) for own in group.values()) for group in groups))

    @classmethod
    def of_samples(cls, job: JobSpec, samples: "LabelledSamples") -> "ClassGroups | None":
        """Return the groups of a job that samples by class, from the samples themselves; otherwise None."""
        found = job.task.classified()
        if found is None or not (job.training.sampling == "class-balanced" or job.task.learns_unlabelled):
            return None
        targets = torch.cat([_class_of(samples.batch([index])[found[0]]) for index in range(len(samples))])
        return cls.of(job, targets, samples.patients)

    def drawn(self, rng: np.random.Generator, count: int) -> list[int]:
        """Return the images of a pass in their order, `count` of them; some come twice, others not at all."""
        shares = [len(part) for part in np.array_split(np.arange(count), len(self.images))]
        taken: list[int] = []
        for place, share in zip(rng.permutation(len(self.images)), shares, strict=True):
            turns = _turns(self.images[place], rng)
            taken += [next(turns) for _ in range(share)]
        return [taken[place] for place in rng.permutation(count)]


def _class_of(target: Tensor) -> Tensor:
    """Return the class (1,) as which a sample is drawn: of a mask (1, *S) whether it has one."""
    if target.dim() == 1:
        return target
    return torch.where(are_known(target), 0, UNKNOWN_LABEL)


def _turns(patients: Sequence[Sequence[int]], rng: np.random.Generator) -> Iterator[int]:
    """Yield images without end: patients take turns in a drawn order, and so do the images of each."""
    order = [rng.permutation(patients[place]).tolist() for place in rng.permutation(len(patients))]
    turn = 0
    while True:
        for images in order:
            yield images[turn % len(images)]
        turn += 1
