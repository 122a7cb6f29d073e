"""Synthetic hospitals with pairs of images: where each point of one lies in the other is known."""

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from simulate.data.anatomy import VENTRICLE, draw_brain
from simulate.data.deformed import Deformed, deform
from simulate.data.patients import Row, patients, place
from simulate.data.patients import row as row_of

_LANDMARKS = 12


def head_pairs(folder: Path, seed: int) -> Iterator[Row]:
    """A slice of a head, 64 x 64, and the same one deformed, by the same scanner; ventricles have masks.

    `other` is the second image as another modality would show it: what is bright there is dark.
    """
    return _slice_pairs(folder, seed, largest=5.0)


def turned_pairs(folder: Path, seed: int) -> Iterator[Row]:
    """The same, where the second head also lies elsewhere as a whole: turned, stretched, sheared, shifted."""
    return _slice_pairs(folder, seed, largest=3.0, as_whole=0.12)


def _slice_pairs(folder: Path, seed: int, *, largest: float, as_whole: float = 0.0) -> Iterator[Row]:
    """See `deform`."""
    for patient in patients({"north": 48, "south": 32, "east": 24, "west": 16}, seed):
        [pixels], [labels] = draw_brain(patient.rng, np.array([0.05]), (64, 64), tumour=False)
        pair = deform(patient.rng, pixels, labels, largest=largest, count=_LANDMARKS, as_whole=as_whole)
        images = {"image": pixels, "moving": pair.image, "other": 1 - pair.image**0.7}
        masks = {"mask": labels, "moving_mask": pair.labels}
        row = {}
        for column, drawn in images.items():
            path = row[column] = place(folder, column, patient, f"{patient.name}.png")
            Image.fromarray(patient.scanned(drawn[None], f"{patient.name} {column}")[0]).save(path)
        for column, mask in masks.items():
            path = row[column] = place(folder, column, patient, f"{patient.name}.png")
            Image.fromarray(np.where(mask == VENTRICLE, 255, 0).astype(np.uint8)).save(path)
        yield row_of(folder, patient, row.pop("image")) | _pair_row(folder, row, pair, (1, 0))


def head_volume_pairs(folder: Path, seed: int) -> Iterator[Row]:
    """A head, 32 x 40 x 32 voxels of 5 x 5 x 6 mm, and the same one deformed; masks of ventricles are 1."""
    affine = np.diag([-5.0, -5.0, 6.0, 1.0])
    for patient in patients({"north": 12, "south": 8, "east": 6}, seed):
        slices, structures = draw_brain(patient.rng, np.linspace(-0.95, 0.95, 32), (40, 32), tumour=False)
        pixels = slices.transpose(2, 1, 0)
        labels = (structures.transpose(2, 1, 0) == VENTRICLE).astype(np.uint8)
        pair = deform(patient.rng, pixels, labels, largest=3.0, count=_LANDMARKS)
        row = {}
        for column, drawn in {"image": pixels, "moving": pair.image}.items():
            path = row[column] = place(folder, column, patient, f"{patient.name}.nii.gz")
            taken = patient.scanned(drawn[None], f"{patient.name} {column}")[0]
            nibabel.save(nibabel.Nifti1Image(taken, affine), path)
        for column, mask in {"mask": labels, "moving_mask": pair.labels}.items():
            path = row[column] = place(folder, column, patient, f"{patient.name}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(mask, affine), path)
        yield row_of(folder, patient, row.pop("image")) | _pair_row(folder, row, pair, (0, 1, 2))


def _pair_row(folder: Path, files: dict[str, Path], pair: Deformed, axes: tuple[int, ...]) -> Row:
    """Return the columns of a pair beside its first image; `axes` are those of x, y, z."""
    places = {"points": pair.points, "moving_points": pair.moved}
    return {column: path.relative_to(folder).as_posix() for column, path in files.items()} | {
        column: json.dumps(np.round(own[:, axes], 3).tolist()) for column, own in places.items()
    }
