"""Synthetic hospitals with ground truth, for a machine with no data.

Each hospital has its own number of patients and its own scanner; what is written is what a real hospital
would offer: images on disk and a manifest.
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import DataError
from shared.seeds import seed_of
from shared.text.names import suggestion
from simulate.data.anatomy import LESIONS, TUMOUR, draw_brain, draw_lesion, draw_sequences
from simulate.data.beats import LEADS, RHYTHMS, draw_cine, draw_rhythm
from simulate.data.cells import draw_cells
from simulate.data.coils import head_scans
from simulate.data.findings import Finding, draw_findings
from simulate.data.pairs import head_pairs, head_volume_pairs, turned_pairs
from simulate.data.patients import Row, patients, place, row
from simulate.data.rated import rated_slices
from simulate.data.records import burden, records, survival, survival_images
from simulate.data.slides import draw_slide, write_slide
from simulate.data.views import view_sets

Channels = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]

_EDITION = 2  # raise it when pictures or tables change: old ones on disk are then not taken for new ones


def make_phantom(name: str, folder: Path, seed: int) -> Path:
    """Write a synthetic dataset into a folder of its own under `folder`, unless it is there already.

    The same name and seed give the same bytes. The folder appears under its name only when it is complete, so
    what an interrupted call left is never used.

    Args:
        name: One of `PHANTOMS`.
        folder: Where datasets are kept; made if it is missing.
        seed: Another seed gives other patients.

    Returns:
        The manifest, with the columns `site`, `patient`, `image`, `split`, and what is true: `mask`, `label`,
        `boxes` or numbers. A quarter of each hospital's patients is for testing.

    Raises:
        DataError: There is no such phantom, or the folder can't be written.
    """
    return write_phantom(name, folder / f"{name}-{_EDITION}-seed{seed}", seed)


def write_phantom(name: str, final: Path, seed: int) -> Path:
    """Write a synthetic dataset as `make_phantom` does, into this very folder.

    Raises:
        DataError: There is no such phantom, or the folder can't be written.
    """
    if name not in PHANTOMS:
        problem = f"unknown synthetic dataset '{name}'; {suggestion(name, PHANTOMS)}"
        raise DataError(problem, remedy="Other data are used from a manifest of their own: `--data FOLDER`.")
    try:
        if not (final / "manifest.csv").exists():
            _write(PHANTOMS[name], name, final, seed)
    except OSError as error:
        problem = f"the synthetic dataset can't be written: {error}"
        raise DataError(
            problem,
            where=final.parent,
            remedy="Free space, remove what is in the way or name another folder.",
        ) from error
    return final / "manifest.csv"


def _write(maker: "Maker", name: str, final: Path, seed: int) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{final.name}-", dir=final.parent) as unfinished:
        work = Path(unfinished) / "data"
        work.mkdir()
        rows = list(maker(work, seed_of(name, seed)))
        with (work / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        try:
            work.rename(final)
        except OSError:
            if not (
                final / "manifest.csv"
            ).exists():  # otherwise another process was faster, with the same bytes
                raise


def _brain_slices(folder: Path, seed: int) -> Iterator[Row]:
    """Six axial slices of a head, 96 x 96, each with its tumour's mask (0 or 255); some heads have none."""
    return _head_slices(folder, seed, np.linspace(-0.45, 0.55, 6), 96, lambda pixels, _: pixels[None])


def _brain_sequences(folder: Path, seed: int) -> Iterator[Row]:
    """Four axial slices of a head, 64 x 64, in colour files: before contrast, FLAIR, after contrast."""
    return _head_slices(folder, seed, np.linspace(-0.35, 0.45, 4), 64, draw_sequences)


def _head_slices(
    folder: Path, seed: int, heights: NDArray[np.float64], side: int, channels: Channels
) -> Iterator[Row]:
    """Axial slices of heads, with masks.

    Args:
        folder: Gets the files.
        seed: Of the patients.
        heights: Of the slices.
        side: Pixels along each axis.
        channels: Makes the channels (C, side, side) of a slice's pixels and of its tumour.
    """
    for patient in patients({"north": 24, "south": 16, "east": 12, "west": 8}, seed):
        slices, labels = draw_brain(patient.rng, heights, (side, side), tumour=patient.rng.random() < 0.85)
        for number, (pixels, structures) in enumerate(zip(slices, labels, strict=True), start=1):
            stem = f"{patient.name}-{number}"
            image = place(folder, "images", patient, f"{stem}.png")
            mask = place(folder, "masks", patient, f"{stem}.png")
            taken = patient.scanned(channels(pixels, structures == TUMOUR), stem)
            Image.fromarray(taken[0] if len(taken) == 1 else np.moveaxis(taken, 0, -1)).save(image)
            Image.fromarray(np.where(structures == TUMOUR, 255, 0).astype(np.uint8)).save(mask)
            yield row(folder, patient, image) | {"mask": mask.relative_to(folder).as_posix()}


def _brain_volumes(folder: Path, seed: int) -> Iterator[Row]:
    """Whole heads, 32 x 40 x 32 voxels of 5 x 5 x 6 mm; mask value 1 for tumour, 2 for ventricles."""
    heights = np.linspace(-0.95, 0.95, 32)
    # Array axes are right-to-left, front-to-back and upwards; NIfTI counts the first two the other way.
    affine = np.diag([-5.0, -5.0, 6.0, 1.0])
    for patient in patients({"north": 12, "south": 8, "east": 4}, seed):
        slices, labels = draw_brain(patient.rng, heights, (40, 32), tumour=True)
        image = place(folder, "images", patient, f"{patient.name}.nii.gz")
        mask = place(folder, "masks", patient, f"{patient.name}.nii.gz")
        taken = patient.scanned(slices.transpose(2, 1, 0)[None], patient.name)[0]
        nibabel.save(nibabel.Nifti1Image(taken, affine), image)
        nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), affine), mask)
        yield row(folder, patient, image) | {"mask": mask.relative_to(folder).as_posix()}


_LESION_SHARES = {
    "north": (0.7, 0.1, 0.2),
    "south": (0.2, 0.5, 0.3),
    "east": (0.3, 0.1, 0.6),
    "west": (0.4, 0.5, 0.1),
}


def _skin_lesions(folder: Path, seed: int) -> Iterator[Row]:
    """Colour pictures, 64 x 64, one or two of a patient's lesion; each hospital sees another mix of kinds."""
    for patient in patients({"north": 100, "south": 70, "east": 40, "west": 24}, seed):
        kind = str(patient.rng.choice(LESIONS, p=_LESION_SHARES[patient.site]))
        for number in range(1, patient.rng.integers(1, 3) + 1):
            stem = f"{patient.name}-{number}"
            image = place(folder, "images", patient, f"{stem}.png")
            taken = patient.scanned(draw_lesion(patient.rng, kind, 64), stem)
            Image.fromarray(np.moveaxis(taken, 0, -1)).save(image)
            yield row(folder, patient, image) | {"label": kind}


def _nodules(folder: Path, seed: int) -> Iterator[Row]:
    """Three pictures of a patient, 64 x 64, with up to three nodules or cavities each, in boxes."""
    for patient in patients({"north": 28, "south": 20, "east": 14, "west": 10}, seed):
        for number in range(1, 4):
            stem = f"{patient.name}-{number}"
            pixels, findings = draw_findings(patient.rng, (64, 64))
            image = place(folder, "images", patient, f"{stem}.png")
            Image.fromarray(patient.scanned(pixels[None], stem)[0]).save(image)
            yield row(folder, patient, image) | {"boxes": _boxes(findings, (1, 0))}


def _nodule_volumes(folder: Path, seed: int) -> Iterator[Row]:
    """Volumes of 32 x 32 x 24 voxels of 2 x 2 x 3 mm, with up to three nodules or cavities each, in boxes."""
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    for patient in patients({"north": 16, "south": 12, "east": 8}, seed):
        pixels, findings = draw_findings(patient.rng, (32, 32, 24))
        image = place(folder, "images", patient, f"{patient.name}.nii.gz")
        taken = patient.scanned(pixels[None], patient.name)[0]
        nibabel.save(nibabel.Nifti1Image(taken, affine), image)
        yield row(folder, patient, image) | {"boxes": _boxes(findings, (0, 1, 2))}


def _boxes(findings: list[Finding], axes: tuple[int, ...]) -> str:
    """Return boxes as a manifest has them: x0, y0, x1, y1[, z0, z1], class; `axes` are those of x, y, z."""
    boxes = []
    for finding in findings:
        ends = [[corner[axis] for axis in axes] for corner in (finding.low, finding.high)]
        depth = [corner[2] for corner in ends if len(axes) > 2]
        boxes.append([*ends[0][:2], *ends[1][:2], *depth, finding.kind])
    return json.dumps(boxes)


def _cells(folder: Path, seed: int) -> Iterator[Row]:
    """Two pictures of a patient, 96 x 96, with up to 24 cells each, and a 16-bit map of their numbers."""
    for patient in patients({"north": 24, "south": 18, "east": 12, "west": 8}, seed):
        for number in range(1, 3):
            stem = f"{patient.name}-{number}"
            pixels, numbers = draw_cells(patient.rng, (96, 96))
            image = place(folder, "images", patient, f"{stem}.png")
            mask = place(folder, "masks", patient, f"{stem}.png")
            Image.fromarray(patient.scanned(pixels[None], stem)[0]).save(image)
            Image.fromarray(numbers).save(mask)
            yield row(folder, patient, image) | {"mask": mask.relative_to(folder).as_posix()}


_STAINS = {"north": (1.0, 1.0), "south": (1.4, 0.7), "east": (0.75, 1.3), "west": (1.2, 1.2)}


def _slides(folder: Path, seed: int) -> Iterator[Row]:
    """A slide of each patient, 448 x 448 at 2 micrometres; half of them have a tumour, and its mask."""
    for patient in patients({"north": 16, "south": 12, "east": 8, "west": 4}, seed):
        tumour = bool(patient.rng.random() < _HALF)
        pixels, sick = draw_slide(patient.rng, _STAINS[patient.site], tumour=tumour)
        slide = place(folder, "slides", patient, f"{patient.name}.tif")
        marks = place(folder, "tumours", patient, f"{patient.name}.png")
        write_slide(slide, pixels)
        Image.fromarray(sick.astype(np.uint8) * 255).reduce(4).save(marks)
        cells = row(folder, patient, slide)
        yield {
            **{"tiles" if key == "image" else key: cell for key, cell in cells.items()},
            "label": "tumour" if tumour else "normal",
            "tumour": marks.relative_to(folder).as_posix(),
        }


_HALF = 0.5
_LOW, _NORMAL = (0.2, 0.4), (0.55, 0.75)  # shares of a chamber's volume that leave it


def _cines(folder: Path, seed: int) -> Iterator[Row]:
    """A folder of frames of each patient, one beat, with how much of the chamber's volume leaves it."""
    for patient in patients({"north": 40, "south": 28, "east": 20}, seed):
        low = bool(patient.rng.random() < _HALF)
        ejected = float(patient.rng.uniform(*(_LOW if low else _NORMAL)))
        frames = draw_cine(patient.rng, ejected)
        for number, frame in enumerate(frames, 1):
            file = place(folder, "frames", patient, f"{patient.name}/{number:02d}.png")
            Image.fromarray(np.rint(255 * frame).astype(np.uint8)).save(file)
        cells = row(folder, patient, file.parent)
        yield {
            **{"series" if key == "image" else key: cell for key, cell in cells.items()},
            "label": "low" if low else "normal",
            "ejected": f"{ejected:.3f}",
        }


def _rhythms(folder: Path, seed: int) -> Iterator[Row]:
    """Six seconds of two leads of each patient, as a table beside the manifest, of one of three rhythms."""
    with (folder / "vectors.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["patient", "step", *(f"lead {number + 1}" for number in range(LEADS))])
        for patient in patients({"north": 64, "south": 44, "east": 32}, seed):
            rhythm = str(patient.rng.choice(RHYTHMS))
            for step, leads in enumerate(draw_rhythm(patient.rng, rhythm)):
                writer.writerow([patient.name, step, *(f"{value:.3f}" for value in leads)])
            yield {"site": patient.site, "patient": patient.name, "split": patient.split, "label": rhythm}


Maker = Callable[[Path, int], Iterator[Row]]
PHANTOMS: dict[str, Maker] = {
    "phantom-brain": _brain_slices,
    "phantom-brain-3d": _brain_volumes,
    "phantom-sequences": _brain_sequences,
    "phantom-raters": rated_slices,
    "phantom-lesions": _skin_lesions,
    "phantom-nodules": _nodules,
    "phantom-nodules-3d": _nodule_volumes,
    "phantom-cells": _cells,
    "phantom-burden": burden,
    "phantom-records": records,
    "phantom-pairs": head_pairs,
    "phantom-turned": turned_pairs,
    "phantom-pairs-3d": head_volume_pairs,
    "phantom-survival": survival,
    "phantom-survival-images": survival_images,
    "phantom-slides": _slides,
    "phantom-cine": _cines,
    "phantom-rhythm": _rhythms,
    "phantom-views": view_sets,
    "phantom-kspace": head_scans,
}
