"""What a person is shown of one sample beside its image: what is true of it, and what the model says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Look:
    """One sample.

    Attributes:
        score: How good the answer is; more is better. It orders samples, and has no other meaning. Not a$
            number where there is nothing to see.
        says: True and predicted, in words.
        true: Mask (*S) of class indices, 0 is background; None where there is none.
        found: The mask that is predicted.
        true_boxes: (N, 2 D + 1), as of `client.data.kinds.boxes`; None where there are none.
        found_boxes: Those that are predicted.
    """

    score: float
    says: str
    true: NDArray[np.uint8] | None = None
    found: NDArray[np.uint8] | None = None
    true_boxes: NDArray[np.float32] | None = None
    found_boxes: NDArray[np.float32] | None = None
