"""How a segmentation is trained, planned from the data as nnU-Net does (Isensee et al. 2021, extended data).

What is planned are plain keys of the job: whoever reads it sees all of them, and may change each.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from client.data.check.dataset_check import Report

Machine = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Budget:
    """What fits into memory and time.

    Attributes:
        patch: Pixels of a patch, at most.
        step: Pixels of a step's patches together, about.
        features: Most features of a level.
    """

    patch: int
    step: int
    features: int


_BUDGETS: dict[tuple[Machine, int], Budget] = {
    ("cpu", 2): Budget(192**2, 8 * 128**2, 256),
    ("cpu", 3): Budget(64**3, 2 * 64**3, 256),
    ("gpu", 2): Budget(512**2, 12 * 512**2, 512),
    ("gpu", 3): Budget(128**3, 2 * 128**3, 320),
}
_FIRST = {"cpu": 16, "gpu": 32}  # features of the first level
_DEEPEST = 4  # pixels along an axis that are left at the deepest level, at least
_HALVINGS = {2: 6, 3: 5}
_ANISOTROPIC = 3  # times: of spacings, and of lengths in pixels, from which on an axis is coarser than others
_LARGEST_SHARE = 0.05  # of all pixels of the data in a step
_LEAST, _MOST = 2, 32  # patches in a step


def planned(report: Report, machine: Machine) -> dict[str, dict[str, Any]]:
    """Return tables of a job: spacing, patch, network, batch and optimiser.

    Args:
        report: Of the data, with sizes of one number of axes; spacings are used where all images have one.
        machine: What the hospitals train on.
    """
    sizes = [[int(length) for length in size.split("x")] for size in report.sizes.elements()]
    spacings = None if "unknown" in report.spacings else list(_spacings(report.spacings))
    shape = [median(lengths) for lengths in zip(*sizes, strict=True)]
    axes = len(shape)
    budget = _BUDGETS[machine, axes]
    data: dict[str, Any] = {"size": None, "dimensions": axes}
    if spacings:
        spacing = target_spacing(spacings, shape)
        usual = [median(lengths) for lengths in zip(*spacings, strict=True)]
        shape = [length * old / new for length, old, new in zip(shape, usual, spacing, strict=True)]
        data["spacing"] = spacing
    halvings, patch = patch_of(shape, budget.patch)
    data["patch"] = patch
    data["augment"] = ["flip", "rotate", "zoom", "intensity", "noise", "gamma"]
    channels = [min(_FIRST[machine] * 2**level, budget.features) for level in range(halvings + 1)]
    most = _LARGEST_SHARE * len(sizes) * math.prod(shape) / math.prod(patch)
    batch = min(budget.step // math.prod(patch), int(most), _MOST)
    return {
        "data": data,
        "task": {"loss": "batch-dice-ce"},
        "model": {"name": "dynunet", "channels": channels, "deep_supervision": True},
        "training": {
            "batch_size": max(_LEAST, batch),
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 3e-5,
            "schedule": "linear",
            "gradient_clip": 12.0,
        },
    }


def _spacings(counted: Counter[str]) -> Iterator[list[float]]:
    for text in counted.elements():
        yield [float(number) for number in text.removesuffix(" mm").split(" x ")]


def target_spacing(spacings: Sequence[Sequence[float]], shape: Sequence[float]) -> list[float]:
    """Return the spacing to which images are resampled: the median, of a coarse axis a finer one.

    An axis is coarse where its spacing is three times another's and its images have a third of the others'
    pixels; then the tenth percentile of its spacings counts, so that it isn't blurred further.

    Args:
        spacings: Millimetres along each axis, of each image.
        shape: Median pixels along each axis.
    """
    found = [median(lengths) for lengths in zip(*spacings, strict=True)]
    coarse = max(range(len(found)), key=lambda axis: found[axis])
    others = [axis for axis in range(len(found)) if axis != coarse]
    wide = found[coarse] >= _ANISOTROPIC * min(found[axis] for axis in others)
    if wide and shape[coarse] * _ANISOTROPIC <= min(shape[axis] for axis in others):
        lengths = sorted(one[coarse] for one in spacings)
        tenth = lengths[int(0.1 * (len(lengths) - 1))]
        found[coarse] = max(tenth, *(found[axis] for axis in others))
    return [float(f"{length:.3g}") for length in found]


def patch_of(shape: Sequence[float], most: int) -> tuple[int, list[int]]:
    """Return how often a network halves its patch, and the patch: as near to the image's shape as fits.

    Args:
        shape: Median pixels along each axis, after resampling.
        most: Pixels of a patch.
    """
    patch = [max(2 * _DEEPEST, int(length)) for length in shape]
    while math.prod(patch) > most and max(patch) > 2 * _DEEPEST:
        may_shrink = [axis for axis in range(len(patch)) if patch[axis] > 2 * _DEEPEST]
        longest = max(may_shrink, key=lambda axis: (patch[axis] / shape[axis], patch[axis]))
        patch[longest] -= 1
    halvings = int(math.log2(min(patch) / _DEEPEST))
    halvings = max(2, min(halvings, _HALVINGS[len(patch)]))
    multiple = 2**halvings
    return halvings, [max(1, length // multiple) * multiple for length in patch]
