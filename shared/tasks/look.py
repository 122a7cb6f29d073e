"""What a person is shown of one sample beside its image: what is true of it, and what the model says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shown:
    """One picture of several that stand side by side.

    Attributes:
        title: What it is, in a word or two ("restored").
        image: (C, *S), of any number of channels; all pictures of a look have one scale of brightness.
        mask: (*S) of class indices, drawn as outlines; None where there is none.
    """

    title: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Look:
    """One sample.

    Attributes:
        score: How good the answer is; more is better. It orders samples, and has no other meaning. Not a
            number where there is nothing to see.
        says: True and predicted, in words.
        true: Mask (*S) of class indices, or of numbers of instances, 0 is background; None where there is
            none.
        found: The mask that is predicted.
        true_boxes: (N, 2 D + 1), as of `client.data.kinds.boxes`; None where there are none.
        found_boxes: Those that are predicted.
        pictures: Shown in place of the image with what is true and with what is predicted, where the answer
            is itself an image.
    """

    score: float
    says: str
    true: NDArray[np.uint8] | NDArray[np.int32] | None = None
    found: NDArray[np.uint8] | NDArray[np.int32] | None = None
    true_boxes: NDArray[np.float32] | None = None
    found_boxes: NDArray[np.float32] | None = None
    pictures: tuple[Shown, ...] = ()
