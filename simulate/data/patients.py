"""The patients of synthetic hospitals: who they are, who scans them, where their files lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.seeds import seed_of
from simulate.data.scanner import Scanner

Row = dict[str, str]
SCANNERS = {  # chosen, not drawn, so that any seed shows four scanners that are unlike each other
    "north": Scanner(gamma=0.65, curve=0.2, bias=0.1, blur=0.004, resolution=0.95, noise=0.012, seed=1),
    "south": Scanner(gamma=1.5, curve=-0.3, bias=0.15, blur=0.002, resolution=1.0, noise=0.05, seed=2),
    "east": Scanner(gamma=0.9, curve=0.3, bias=0.12, blur=0.008, resolution=0.6, noise=0.02, seed=3),
    "west": Scanner(gamma=0.9, curve=-0.6, bias=0.28, blur=0.004, resolution=0.8, noise=0.035, seed=4),
}
_TEST_EVERY = 4  # every fourth patient of a hospital is for testing


@dataclass(frozen=True)
class Patient:
    """A patient of a synthetic hospital, whose every random number comes from `rng`."""

    site: str
    number: int
    rng: np.random.Generator

    @property
    def name(self) -> str:
        """Their id."""
        return f"{self.site}-{self.number:03d}"

    @property
    def split(self) -> str:
        """On which side they are."""
        return "train" if self.number % _TEST_EVERY else "test"

    def scanned(self, image: NDArray[np.float32], key: str) -> NDArray[np.uint8]:
        """Take an image (C, *S) of 0..1 with the hospital's scanner; return it as 8 bit."""
        return np.rint(255 * SCANNERS[self.site](image, key)).astype(np.uint8)


def patients(hospitals: dict[str, int], seed: int) -> Iterator[Patient]:
    """Yield the patients of each hospital."""
    for site, count in hospitals.items():
        for number in range(1, count + 1):
            yield Patient(site, number, np.random.default_rng(seed_of(seed, site, number)))


def place(folder: Path, kind: str, patient: Patient, file: str) -> Path:
    """Return where a file of a patient is to be written; its folder is made."""
    path = folder / kind / patient.site / file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def row(folder: Path, patient: Patient, image: Path) -> Row:
    """Return what a manifest says of every image."""
    return {
        "site": patient.site,
        "patient": patient.name,
        "split": patient.split,
        "image": image.relative_to(folder).as_posix(),
    }
