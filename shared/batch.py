"""Some samples at once, by field: what training and evaluation hand to a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor

from shared.seeds import seed_of

Prediction = Mapping[str, Tensor]
"""What networks say of a batch: named tensors (B, ...), such as logits (B, K, *S)."""


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        values: By field: a tensor (B, ...), or a list of B tensors where the kind does not stack. An image is
            (B, C, *S) float32; a mask (B, *S) uint8 class indices, 0 is background; a label (B,) int64, with
            several labels (B, K) float32 of 0 and 1.
        patients: One id per sample.
        spacing: Millimetres along each axis, or None where it is unknown or not the same for all.
        keys: Per sample, text that differs for samples of other content; for what is drawn from it.
        rounds: In training, how many rounds are done, with a part of this one.
    """

    values: Mapping[str, Any]
    patients: Sequence[str]
    spacing: Sequence[float] | None = None
    keys: Sequence[str] = ()
    rounds: float = 0.0

    def __getitem__(self, name: str) -> Any:
        """Return the values of a field."""
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        """Say whether the samples have a field; a site may lack one that is not required."""
        return name in self.values

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.patients)

    @classmethod
    def of_nobody(cls, count: int) -> Self:
        """Return a batch without fields: that many samples are to be drawn, and none is anybody's."""
        return cls({}, [""] * count, keys=[str(number) for number in range(count)])

    @classmethod
    def joined(cls, batches: Sequence["Batch"]) -> Self:
        """Return the samples of several batches as one."""
        values: dict[str, Any] = {}
        for name in batches[0].values:
            parts = [batch[name] for batch in batches]
            stacked = isinstance(parts[0], Tensor)
            values[name] = torch.cat(parts) if stacked else list(chain.from_iterable(parts))
        spacings = {batch.spacing for batch in batches}
        patients = [patient for batch in batches for patient in batch.patients]
        keys = [key for batch in batches for key in batch.keys]
        return cls(values, patients, spacings.pop() if len(spacings) == 1 else None, keys)

    def plus(self, **values: Any) -> Self:
        """Return the samples with further fields, or others in their place."""
        return replace(self, values={**self.values, **values})

    def each(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """Return the samples with every tensor changed, given the name of its field."""
        values = {
            name: change(name, value) if isinstance(value, Tensor) else [change(name, one) for one in value]
            for name, value in self.values.items()
        }
        return replace(self, values=values)

    def at(self, rounds: float) -> Self:
        """Return the samples as those of a time in training."""
        return replace(self, rounds=rounds)

    def chosen(self, places: Sequence[int]) -> Self:
        """Return the samples at these places, which may be given twice."""
        values = {
            name: value[torch.as_tensor(places, device=value.device)]
            if isinstance(value, Tensor)
            else [value[place] for place in places]
            for name, value in self.values.items()
        }
        patients = [self.patients[place] for place in places]
        keys = [self.keys[place] for place in places] if self.keys else ()
        return replace(self, values=values, patients=patients, keys=keys)

    def seeds(self, seed: int) -> list[int]:
        """Return a seed for each sample, which is the same in whatever batch it comes.

        Raises:
            ValueError: The samples have no keys.
        """
        if len(self.keys) != len(self):
            raise ValueError("nothing can be drawn for samples without keys")
        return [seed_of(seed, key) for key in self.keys]
