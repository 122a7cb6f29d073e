"""How a value of a field is drawn over its image, for a person who looks at the data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Drawing:
    """What is drawn, by the axes of the image and in its pixels, counted from its edge.

    Attributes:
        areas: (*S): 0 is left alone, k has a border in the colour of the k-th class, or of the k-th instance.
        instances: Whether the areas are instances.
        boxes: (N, 2 D + 1): lower corner, upper corner, index of the class.
        points: (N, D): crosses, each in the colour of its row; one that is not a number is left out.
    """

    areas: NDArray[np.uint8] | NDArray[np.int32] | None = None
    boxes: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    instances: bool = False
