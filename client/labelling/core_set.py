"""Images that together stand for all others: a greedy cover of what a network sees in them."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]


def farthest_first(vectors: Vectors, centres: Vectors, count: int) -> list[tuple[int, float]]:
    """Return the vectors that are chosen, in their order, each with its distance to all before it.

    Each is the one that is farthest from all centres so far (Sener and Savarese 2018, "Active learning for
    convolutional neural networks: a core-set approach", algorithm 1); of equals the first. Without centres
    the first is the one nearest to the mean, whose distance is infinite.

    Args:
        vectors: Of those that may be chosen (N, F).
        centres: Of those that are labelled (M, F).
        count: How many are chosen, at most.
    """
    if not len(vectors):
        return []
    nearest = np.full(len(vectors), np.inf)
    for centre in centres:
        nearest = np.minimum(nearest, _distances(vectors, centre))
    chosen: list[tuple[int, float]] = []
    while len(chosen) < min(count, len(vectors)):
        place = int(nearest.argmax())
        if not chosen and not len(centres):
            place = int(_distances(vectors, vectors.mean(axis=0)).argmin())
        chosen.append((place, float(nearest[place])))
        nearest = np.minimum(nearest, _distances(vectors, vectors[place]))
        nearest[[place for place, _ in chosen]] = -np.inf
    return chosen


def _distances(vectors: Vectors, centre: Vectors) -> Vectors:
    found: Vectors = np.linalg.norm(vectors - centre, axis=1)
    return found
