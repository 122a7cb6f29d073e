"""Preprocessed samples in memory, and batches of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from client.data.augment import augment
from shared.job import DataTable
from shared.seeds import seed_of


@dataclass(frozen=True)
class Batch:
    """Some samples, stacked.

    Attributes:
        images: (B, C, *S), float32.
        targets: Classification: (B,) int64, with several labels (B, K) float32 of 0 and 1. Segmentation:
            (B, *S) uint8 class indices, 0 is background.
        patients: One id a sample.
        spacing: Millimetres along each axis, or None where it is unknown or not the same for all.
    """

    images: Tensor
    targets: Tensor
    patients: list[str]
    spacing: tuple[float, ...] | None


class Samples:
    """One side of a split, preprocessed, in memory.

    Where all images have one shape they lie in one tensor, and a batch that is not augmented is one indexing.

    Attributes:
        patients: The patient of each sample.
        keys: The SHA-256 of each sample's image files.
        spacings: Millimetres along each axis, a sample.
    """

    def __init__(
        self,
        images: Sequence[Tensor] | Tensor,
        targets: Sequence[Tensor] | Tensor,
        *,
        patients: list[str],
        keys: list[str],
        spacings: list[tuple[float, ...] | None],
        data: DataTable,
    ) -> None:
        self.images = images
        self.targets = targets
        self.patients = patients
        self.keys = keys
        self.spacings = spacings
        self._data = data

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
        patients = [self.patients[index] for index in indices]
        changed = augment_seed is not None and (self._data.augment or self._data.patch)
        images, targets = self._augmented(indices, augment_seed) if changed else self._plain(indices)
        spacings = {self.spacings[index] for index in indices}
        return Batch(images, targets, patients, spacings.pop() if len(spacings) == 1 else None)

    def batches(self, batch_size: int) -> Iterator[list[int]]:
        """Yield all indices in order, cut into batches whose images have one shape and one spacing."""
        group: list[int] = []
        for index in range(len(self)):
            if group and (len(group) == batch_size or self._form(index) != self._form(group[0])):
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    def _form(self, index: int) -> tuple[object, ...]:
        return (*self.images[index].shape, self.spacings[index])

    def _plain(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        if isinstance(self.images, Tensor) and isinstance(self.targets, Tensor):
            chosen = torch.as_tensor(indices)
            return self.images[chosen], self.targets[chosen]
        return _stack([self.images[index] for index in indices]), _stack(
            [self.targets[index] for index in indices]
        )

    def _augmented(self, indices: Sequence[int], seed: int | None) -> tuple[Tensor, Tensor]:
        images, targets = [], []
        for index in indices:
            target = self.targets[index]
            mask = target if target.dtype == torch.uint8 else None
            one = seed_of(seed or 0, self.keys[index])
            image, changed = augment((self.images[index], mask), self._data.augment, self._data.patch, one)
            images.append(image)
            targets.append(target if changed is None else changed)
        return _stack(images), _stack(targets)


def _stack(tensors: list[Tensor]) -> Tensor:
    if len({tensor.shape for tensor in tensors}) > 1:
        raise ValueError("the images of a batch have several shapes")
    return torch.stack(tensors)
