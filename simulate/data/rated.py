"""Synthetic hospitals whose images several raters have outlined, each in a way of their own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from simulate.data.anatomy import TUMOUR, draw_brain
from simulate.data.patients import Row, patients, place
from simulate.data.patients import row as row_of

RATERS = ("rater1", "rater2", "rater3")
_REACH = {
    "rater1": -1.5,
    "rater2": 2.5,
    "rater3": 1.5,
}  # pixels by which a rater's border lies outside the true one
_WAVY = 0.8  # pixels: deviation of a border along its way, other for each rater
_UNSEEN = 0.25  # share of the images that another rater than the first has not seen


def rated_slices(folder: Path, seed: int) -> Iterator[Row]:
    """Four slices of a head, 64 x 64, whose tumour three raters have outlined; `truth` is what it is."""
    heights = np.linspace(-0.3, 0.4, 4)
    for patient in patients({"north": 18, "south": 12, "east": 10, "west": 8}, seed):
        slices, labels = draw_brain(patient.rng, heights, (64, 64), tumour=True)
        for number, (pixels, structures) in enumerate(zip(slices, labels, strict=True), start=1):
            stem = f"{patient.name}-{number}"
            image = place(folder, "images", patient, f"{stem}.png")
            Image.fromarray(patient.scanned(pixels[None], stem)[0]).save(image)
            true = structures == TUMOUR
            masks = {name: outlined(patient.rng, true, reach) for name, reach in _REACH.items()}
            cells = row_of(folder, patient, image)
            for name, mask in {**masks, "truth": true}.items():
                path = place(folder, name, patient, f"{stem}.png")
                seen = name in (RATERS[0], "truth") or patient.rng.random() > _UNSEEN
                cells[name] = path.relative_to(folder).as_posix() if seen else ""
                if seen:
                    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)
            yield cells


def outlined(rng: np.random.Generator, true: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Return a mask (*S) whose border lies `reach` pixels outside of the true one, and wavers about that."""
    if not true.any():
        return true
    outside = ndimage.distance_transform_edt(~true) - ndimage.distance_transform_edt(true)
    waves = ndimage.gaussian_filter(rng.normal(size=true.shape), 4.0)
    found: NDArray[np.bool_] = outside < reach + _WAVY * waves / waves.std()
    return found
