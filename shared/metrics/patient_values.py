"""What each patient adds to the sums of a metric: kept at the site, which bounds it before a sum leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PatientValues:
    """Sums over the images of each patient. It is about single patients, and stays at their site.

    Attributes:
        patients: Names (P,), in their order.
        sums: Of the values of each patient (P, columns), float64.
        counts: Images behind each of them (P, columns), int64.
        images: Of each patient (P,), int64, those without a value too.
    """

    patients: NDArray[np.str_]
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    images: NDArray[np.int64]

    @classmethod
    def of(cls, patients: Sequence[str], values: NDArray[np.float64], counted: NDArray[np.bool_]) -> Self:
        """Add up the values (N, columns) of images by patient, those that are counted alone."""
        names, codes, images = np.unique(np.array(patients), return_inverse=True, return_counts=True)
        sums = np.zeros((len(names), values.shape[1]))
        counts = np.zeros(sums.shape, np.int64)
        np.add.at(sums, codes, np.where(counted, values, 0.0))
        np.add.at(counts, codes, counted)
        return cls(names, sums, counts, images)
