"""The patients on whom an attack is tried: those trained on, and those held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from client.data.manifest.rows import SPLITS
from client.data.samples.site_data import Samples, SiteData
from shared.batch import Batch
from shared.errors import DataError
from shared.job.schema import JobSpec

FEWEST = 10  # patients on either side: a figure over fewer says something of single ones


@dataclass(frozen=True)
class Population:
    """The patients of a site, in one order.

    Attributes:
        samples: All images of the site.
        owners: Of each image, (images,), the index of its patient.
        members: Of each patient, (patients,), whether the model was trained on them.
    """

    samples: Samples
    owners: NDArray[np.int64]
    members: NDArray[np.bool_]

    @classmethod
    def of(cls, data: SiteData, job: JobSpec) -> "Population":
        """Read all images of a site; patients for validation and for testing are not members.

        Raises:
            DataError: There are too few patients on a side, or an image can't be used.
        """
        for kind, count in {
            "trained on": data.patients["train"],
            "held out": data.patients["val"] + data.patients["test"],
        }.items():
            if count < FEWEST:
                raise DataError(
                    f"has {count} patients that were {kind}, and an attack needs at least {FEWEST}",
                    where=data.site,
                    remedy="Audit the run at a site with more patients.",
                )
        sides = [data.split(side) for side in SPLITS]
        samples = Samples.joined(job, sides)
        names = {name: index for index, name in enumerate(dict.fromkeys(samples.patients))}
        owners = np.array([names[patient] for patient in samples.patients])
        return cls(samples, owners, np.arange(len(names)) < len(set(sides[0].patients)))

    @cached_property
    def _images(self) -> NDArray[np.int64]:
        return np.bincount(self.owners)

    def by_patient(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each patient, (patients,), of a value an image, (images,)."""
        return np.bincount(self.owners, weights=values) / self._images

    def chosen(self, patients: NDArray[np.bool_]) -> "Chosen":
        """Return the images of some patients, given as (patients,)."""
        return Chosen(self.samples, np.flatnonzero(patients[self.owners]).tolist())


class Chosen:
    """Some of a site's images, to train on."""

    def __init__(self, samples: Samples, indices: list[int]) -> None:
        self.patients = [samples.patients[index] for index in indices]
        self._samples = samples
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def on_disk(self) -> bool:
        """See `Samples`."""
        return self._samples.on_disk

    def batch(self, indices: Sequence[int], *, augment_seed: int | None = None) -> Batch:
        """Return images as a batch; see `Samples.batch`."""
        return self._samples.batch([self._indices[index] for index in indices], augment_seed=augment_seed)
