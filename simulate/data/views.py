"""Several views of each patient: two of either side, of which only a pair says what is there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from simulate.data.patients import Row, patients, place, row

VIEWS = ("left_cc", "left_mlo", "right_cc", "right_mlo")
"""Columns of the manifest, as the four views of a mammography are called."""

_SIDE = 48  # pixels
_SICK, _LACKING = 0.5, 0.06  # of the patients, of the views


def view_sets(folder: Path, seed: int) -> Iterator[Row]:
    """Four pictures of each patient, 48 x 48, some lacking; each patient has two spots.

    Of those with a mass both spots are on one side, once in each of its views; of the others each is on a
    side of its own, so that no picture by itself, and no number of spots, tells them apart.
    """
    for patient in patients({"north": 100, "south": 70, "east": 50}, seed):
        rng = patient.rng
        sick = bool(rng.random() < _SICK)
        side, projection = rng.integers(2, size=2)
        spots = {2 * side + 0, 2 * side + 1} if sick else {projection, 2 + (1 - projection)}
        lacking = rng.random(len(VIEWS)) < _LACKING
        cells: Row = {}
        for number, view in enumerate(VIEWS):
            pixels = _drawn(rng, spot=number in spots)
            image = place(folder, view, patient, f"{patient.name}.png")
            if lacking[number] and not lacking.all():
                cells[view] = ""
                continue
            Image.fromarray(patient.scanned(pixels[None], f"{patient.name}-{view}")[0]).save(image)
            cells[view] = image.relative_to(folder).as_posix()
        whose = {key: cell for key, cell in row(folder, patient, image).items() if key != "image"}
        yield {**whose, **cells, "label": "mass" if sick else "no mass"}


def _drawn(rng: np.random.Generator, *, spot: bool) -> NDArray[np.float32]:
    """Return a picture of 0 to 1: tissue within half an ellipse, and a spot if there is one."""
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    inside = (x / 0.8) ** 2 + ((y - 0.5) / 0.45) ** 2 < 1
    tissue = 0.35 + 0.05 * gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), 3) / 0.1
    height, depth = rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.5)
    bright = 0.45 * np.exp(-((x - depth) ** 2 + (y - height) ** 2) / (2 * 0.05**2))
    picture = np.where(inside, tissue + spot * bright, 0.05)
    return picture.clip(0, 1).astype(np.float32)
