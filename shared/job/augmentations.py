"""The random changes to training images that a job may name."""

from typing import Literal

Augmentation = Literal[
    "flip",
    "rotate90",
    "rotate",
    "zoom",
    "crop",
    "elastic",
    "intensity",
    "noise",
    "gamma",
    "colour",
]
