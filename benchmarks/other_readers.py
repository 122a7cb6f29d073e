"""Are volumes read as dcm2niix and SimpleITK read them? Array, place, spacing and intensity.

Compares every series of the DICOM pack, the hippocampus volumes, and what nibabel and pydicom ship.
Each is equal to 1e-4, or refused with our reason, or named as different. Packs that are not there
($WARDROUND_DATA) are named, and dcm2niix where it is not installed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom.data
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))  # a script, run from anywhere

from common import DATA, finish  # noqa: E402

from client.data.images.readers import read_image  # noqa: E402
from shared.errors import DataError  # noqa: E402

PACKS = ("dicom_samples", "hippocampus_nifti")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One file or series beside another reader."""

    what: str
    other: str
    verdict: str


def main() -> None:
    """Print a row per comparison; fails where something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five of the volumes; held to no figure")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    rows = [*series(), *volumes(most=5 if quick else None)]
    table = Table("file or series", "other reader", "ours")
    for row in rows:
        table.add_row(row.what, row.other, row.verdict)
    Console(width=140).print(table)
    missed = [row.what for row in rows if row.verdict.startswith("DIFFERS")]
    kinds = Counter(row.verdict.partition(":")[0] for row in rows)
    absent = [name for name in PACKS if not (DATA / name).is_dir()]
    if absent:
        print(f"not compared: {', '.join(absent)}, not in {DATA}; set WARDROUND_DATA", file=sys.stderr)
    figures = {"compared": dict(kinds), "packs_that_are_not_there": absent}
    finish("other_readers", figures, missed, quick=quick)


def series() -> Iterator[Row]:
    """Compare each series of the DICOM pack with what dcm2niix makes of it."""
    root = DATA / "dicom_samples"
    for folder in sorted({path.parent for path in root.rglob("*.dcm")}):
        name = str(folder.relative_to(root))
        try:
            picture = read_image(folder)
        except DataError as error:
            yield Row(name, "dcm2niix", f"refused: {error.problem}")
            continue
        if shutil.which("dcm2niix") is None:
            yield Row(name, "dcm2niix", "not compared: dcm2niix is not installed")
            continue
        with tempfile.TemporaryDirectory() as out:
            command = ["dcm2niix", "-z", "n", "-b", "n", "-p", "n", "-f", "x", "-o", out, str(folder)]
            subprocess.run(command, capture_output=True, check=False)
            found = sorted(Path(out).glob("*.nii"))
            if len(found) != 1:
                yield Row(name, "dcm2niix", f"not compared: it makes {len(found)} files")
                continue
            image = nibabel.as_closest_canonical(nibabel.load(found[0]))
            array = image.get_fdata()
        channels = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
        yield Row(name, "dcm2niix", compared(picture.array, picture.affine, channels, image.affine))


def volumes(most: int | None) -> Iterator[Row]:
    """Compare NIfTI volumes, and what ships with nibabel and pydicom, with SimpleITK."""
    samples = sorted((DATA / "hippocampus_nifti" / "images").glob("*.nii.gz"))
    shipped = Path(nibabel.__file__).parent / "tests" / "data"
    samples += [path for path in sorted(shipped.glob("*.nii*")) if path.suffix != ".idx"]
    dicom = Path(pydicom.data.__file__).parent / "test_files"
    samples += [
        dicom / name for name in ("CT_small.dcm", "MR_small.dcm", "emri_small.dcm") if (dicom / name).exists()
    ]
    for path in samples[:most]:
        try:
            picture = read_image(path)
        except DataError as error:
            yield Row(path.name, "SimpleITK", f"refused: {error.problem}")
            continue
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError:
            yield Row(path.name, "SimpleITK", "not compared: SimpleITK does not read it")
            continue
        if image.GetDimension() != 3 or picture.affine is None or len(picture.shape) != 3:
            yield Row(path.name, "SimpleITK", flat(picture.array, image))
            continue
        array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(array.astype(np.float64), affine))
        verdict = compared(picture.array, picture.affine, turned.get_fdata()[None], turned.affine)
        yield Row(path.name, "SimpleITK", verdict)


def flat(array: NDArray[np.floating], image: "sitk.Image") -> str:
    """Compare the numbers of a picture, which have no third axis to turn."""
    other = np.squeeze(sitk.GetArrayFromImage(image))
    ours = np.squeeze(array)
    if sorted(ours.shape) != sorted(other.shape):
        return f"not compared: {ours.shape} beside {other.shape}"
    same = np.isclose(np.sort(ours, axis=None), np.sort(other, axis=None).astype(float), rtol=TOLERANCE).all()
    return "equal" if same else "DIFFERS in its values"


def compared(
    array: NDArray[np.floating],
    affine: NDArray[np.float64] | None,
    other: NDArray[np.floating],
    other_affine: NDArray[np.float64],
) -> str:
    """Say whether two readers agree to 1e-4: shape, place, values relative to the largest."""
    if array.shape != other.shape:
        return f"DIFFERS: {array.shape} beside {other.shape}"
    place = float(np.abs(np.asarray(affine) - other_affine[:3]).max())
    values = float(np.abs(array - other).max() / max(float(np.abs(other).max()), 1e-9))
    if place <= TOLERANCE and values <= TOLERANCE:
        return "equal"
    return f"DIFFERS: place by {place:.3g} mm, values by {values:.3g} of the largest"


if __name__ == "__main__":
    main()
