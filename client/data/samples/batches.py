"""Prepared samples, and batches of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from client.data.cache.cache import MappedValue
from client.data.kinds import Kind, kinds_of
from client.data.motion.augment import draw_motion
from client.data.motion.steps import Value, whole
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.seeds import seed_of

_MOST_PIXELS = 2**24  # of a batch's images, when no step of training says how many there are

Column = Sequence[Value] | Tensor
"""The values of one field, by sample; one tensor where all have one shape."""


class Samples:
    """One side of a split, prepared.

    Where all values of a field have one shape they lie in one tensor, and a batch that is not augmented is
    one indexing.

    Args:
        job: Its patch and its augmentations.
        columns: The values of each field, one per sample.
        patients: The patient of each sample.
        keys: Text that differs for samples of other content: the SHA-256 of their files.
        spacings: Millimetres along each axis, per sample; None where unknown.
        kinds: Of the fields; None takes those of the job's task.
    """

    def __init__(
        self,
        job: JobSpec,
        columns: Mapping[str, Column],
        *,
        patients: list[str],
        keys: list[str],
        spacings: list[tuple[float, ...] | None],
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        self.columns = columns
        self.patients = patients
        self.keys = keys
        self.spacings = spacings
        self._job = job
        known = kinds_of(job) if kinds is None else kinds
        self._kinds = {name: kind for name, kind in known.items() if name in columns}
        self._memos: dict[int, dict[str, Any]] = {}
        self._first = next((name for name, kind in self._kinds.items() if kind.lies_on_grid), None)

    @classmethod
    def joined(cls, job: JobSpec, parts: Sequence["Samples"]) -> Self:
        """Return the samples of several sides as one; nothing is copied, and shapes may differ."""
        return cls(
            job,
            {
                name: list(chain.from_iterable(part.columns[name] for part in parts))
                for name in parts[0].columns
            },
            patients=[patient for part in parts for patient in part.patients],
            keys=[key for part in parts for key in part.keys],
            spacings=[spacing for part in parts for spacing in part.spacings],
            kinds=parts[0]._kinds,
        )

    def __len__(self) -> int:
        return len(self.patients)

    def batch(self, indices: Sequence[int], *, augment_seed: int | None = None) -> Batch:
        """Return samples as a batch.

        Args:
            indices: Which samples; at least one.
            augment_seed: With a seed the samples are augmented and cropped to the job's patch, each by a seed
                of its own, drawn from this one and its content.

        Raises:
            ValueError: The images have several shapes (see `batches`).
        """
        data = self._job.data
        if augment_seed is not None and (data.augment or data.patch):
            changed = [self._changed(index, seed_of(augment_seed, self.keys[index])) for index in indices]
            values = {
                name: kind.stack([value[name] for value in changed]) for name, kind in self._kinds.items()
            }
        else:
            values = {name: self._plain(name, indices) for name in self._kinds}
        spacings = {self.spacings[index] for index in indices}
        patients = [self.patients[index] for index in indices]
        keys = [self.keys[index] for index in indices]
        return Batch(values, patients, spacings.pop() if len(spacings) == 1 else None, keys)

    def batches(self, batch_size: int) -> Iterator[list[int]]:
        """Yield all indices in order, cut into batches whose images have one shape and one spacing.

        Of large volumes there are fewer than `batch_size` in a batch.
        """
        group: list[int] = []
        for index in range(len(self)):
            most = min(batch_size, self._at_once(group[0])) if group else 1
            if group and (len(group) >= most or self._form(index) != self._form(group[0])):
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    @property
    def on_disk(self) -> bool:
        """Whether values are read as they are asked for: a batch then takes its time."""
        return any(isinstance(column[0], MappedValue) for column in self.columns.values() if len(column))

    def _at_once(self, index: int) -> int:
        """Return how many samples as large as one make a batch."""
        if self._first is None:
            return len(self)
        return max(1, _MOST_PIXELS // math.prod(self.columns[self._first][index].shape))

    def _form(self, index: int) -> tuple[object, ...]:
        shapes = [tuple(self.columns[name][index].shape) for name, kind in self._kinds.items() if kind.stacks]
        return (*shapes, self.spacings[index])

    def _plain(self, name: str, indices: Sequence[int]) -> Tensor | list[Tensor]:
        column = self.columns[name]
        if isinstance(column, Tensor):
            return column[torch.as_tensor(indices)]
        return self._kinds[name].stack([whole(column[index]) for index in indices])

    def _changed(self, index: int, seed: int) -> dict[str, Tensor]:
        """Return the values of a sample, moved by one draw and shaded."""
        rng, data = np.random.default_rng(seed), self._job.data
        values = {name: self.columns[name][index] for name in self._kinds}
        steps = []
        if self._first is not None:
            shape = tuple(values[self._first].shape[-data.dimensions :])
            memo = self._memos.setdefault(index, {})
            steps = draw_motion(
                data.augment, data.patch, shape, lambda rng: self._centre(values, rng, memo), rng
            )
        moved = {name: kind.move(values[name], steps) for name, kind in self._kinds.items()}
        return {name: kind.shade(moved[name], data.augment, rng) for name, kind in self._kinds.items()}

    def _centre(
        self, values: Mapping[str, Value], rng: np.random.Generator, memo: dict[str, Any]
    ) -> Sequence[int] | None:
        found = (kind.centre(values[name], rng, memo) for name, kind in self._kinds.items())
        return next((centre for centre in found if centre is not None), None)
