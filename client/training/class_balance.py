"""Sampling by class: each pass over a site's images takes every class as often as the others.

Within a class patients take turns, and the images of a patient: one with many images of a rare class counts
no more than one with a single image. A pass is as long as otherwise, so steps tell nothing of the classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shared.batch import Batch
from shared.job.schema import JobSpec


class LabelledSamples(Protocol):
    """Samples with the patient of each."""

    patients: list[str]

    def __len__(self) -> int: ...
    def batch(self, indices: Sequence[int]) -> Batch: ...  # noqa: D102


@dataclass(frozen=True)
class ClassGroups:
    """The images of a site by class and patient.

    Attributes:
        images: For each class that there is, the images of each of its patients, as indices.
    """

    images: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def of(cls, job: JobSpec, targets: Tensor | None, patients: Sequence[str]) -> "ClassGroups | None":
        """Return the groups of a job that samples by class; None for every other job.

        Args:
            job: Says how it samples; its rules let it have one label per image.
            targets: (N,) int64, the class of each training image.
            patients: Of each.
        """
        if job.training.sampling != "class-balanced" or targets is None:
            return None
        by_class: dict[int, dict[str, list[int]]] = {}
        for index, (target, patient) in enumerate(zip(targets.tolist(), patients, strict=True)):
            by_class.setdefault(target, {}).setdefault(patient, []).append(index)
        return cls(
            tuple(tuple(tuple(images) for images in by_class[target].values()) for target in sorted(by_class))
        )

    @classmethod
    def of_samples(cls, job: JobSpec, samples: "LabelledSamples") -> "ClassGroups | None":
        """Return the groups of a job that samples by class, from the samples themselves; otherwise None."""
        found = job.task.classified()
        if job.training.sampling != "class-balanced" or found is None:
            return None
        targets = torch.cat([samples.batch([index])[found[0]] for index in range(len(samples))])
        return cls.of(job, targets, samples.patients)

    def drawn(self, rng: np.random.Generator, count: int) -> list[int]:
        """Return the images of a pass in their order, `count` of them; some come twice, others not at all."""
        shares = [len(part) for part in np.array_split(np.arange(count), len(self.images))]
        taken: list[int] = []
        for place, share in zip(rng.permutation(len(self.images)), shares, strict=True):
            turns = _turns(self.images[place], rng)
            taken += [next(turns) for _ in range(share)]
        return [taken[place] for place in rng.permutation(count)]


def _turns(patients: Sequence[Sequence[int]], rng: np.random.Generator) -> Iterator[int]:
    """Yield images without end: patients take turns in a drawn order, and so do the images of each."""
    order = [rng.permutation(patients[place]).tolist() for place in rng.permutation(len(patients))]
    turn = 0
    while True:
        for images in order:
            yield images[turn % len(images)]
        turn += 1
