"""Structure sets of radiotherapy (RTSTRUCT) as masks: contours filled in the planes of their image."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.data.formats.dicom.place import TO_RAS
from client.data.formats.picture import Picture
from shared.errors import DataError

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_FLAT = 0.1  # of a voxel: how far the points of a contour may lie from its slice


def is_structure_set(dataset: Dataset) -> bool:
    """Say if a file is a structure set."""
    return bool(dataset.get("SOPClassUID") == STRUCTURE_SET)


def read_structures(dataset: Dataset, path: Path, image: Picture, classes: Sequence[str]) -> Picture:
    """Return the structures of a set that are named as the classes, as labels 1, 2, ... on the image's grid.

    A voxel is inside where its centre is inside of an odd number of contours of its slice, so that holes are.

    Args:
        dataset: The structure set.
        path: Its file, for the error.
        image: The volume in which the contours were drawn.
        classes: Names of the structures, whatever their case.

    Raises:
        DataError: No structure has a class's name, structures overlap, or a contour lies in no slice.
    """
    if image.affine is None or len(image.shape) != 3:
        raise DataError("needs a volume that says where it lies", where=path)
    _require_same_frame(dataset, path, image)
    wanted = {name.casefold(): index for index, name in enumerate(classes, start=1)}
    names = {int(item.ROINumber): str(item.ROIName) for item in dataset.get("StructureSetROISequence", ())}
    labels = np.zeros(image.shape, dtype=np.uint8)
    found, sparse = [], []
    for item in dataset.get("ROIContourSequence", ()):
        name = names.get(int(item.ReferencedROINumber), "")
        index = wanted.get(name.strip().casefold())
        if index is None:
            continue
        inside, slices = _filled(item.get("ContourSequence", ()), image, path, name)
        if (labels[inside] != 0).any():
            raise DataError(f"has structures that overlap ('{name}')", where=path)
        labels[inside] = index
        found.append(name)
        if len(slices) > 2 and min(np.diff(slices)) > 1:
            sparse.append(f"'{name}' is drawn in every few slices only: nothing is filled in between")
    if not found:
        listed = ", ".join(f"'{name}'" for name in names.values()) or "none"
        raise DataError(
            f"has no structure named as a class of the job; its structures: {listed}",
            where=path,
            remedy="Name [task] classes as the structures are named.",
        )
    drawn = {name.strip().casefold() for name in found}
    notes = tuple(
        f"a structure set has no '{name}': nothing of it is in the mask"
        for name in classes
        if name.casefold() not in drawn
    )
    return replace(image, array=labels[None], background=None, notes=(*notes, *sparse))


def _require_same_frame(dataset: Dataset, path: Path, image: Picture) -> None:
    items = dataset.get("StructureSetROISequence", ())
    frames = {str(item.get("ReferencedFrameOfReferenceUID") or "") for item in items} - {""}
    if image.frame and frames and image.frame not in frames:
        raise DataError(
            "was drawn in another frame of reference than its image's: their places can't be compared",
            where=path,
            remedy="Is it the structure set of this series?",
        )


def _filled(
    contours: Sequence[Dataset], image: Picture, path: Path, name: str
) -> tuple[NDArray[np.bool_], list[int]]:
    """Return the voxels inside of the contours of one structure, and in which slices they are.

    Raises:
        DataError: A contour lies in no slice, is open, or several planes of contours fall into one slice: an
            even number of them would leave nothing.
    """
    inside = np.zeros(image.shape, dtype=bool)
    planes: dict[tuple[int, int], float] = {}
    to_voxel = np.linalg.inv(np.vstack([np.asarray(image.affine), [0, 0, 0, 1]])) @ TO_RAS
    for contour in contours:
        if str(contour.get("ContourGeometricType", "")).startswith("OPEN"):
            raise DataError(f"has an open contour of '{name}': what is inside of it is not known", where=path)
        points = np.reshape([float(number) for number in contour.ContourData], (-1, 3))
        if len(points) < 3:
            continue
        voxels = (to_voxel @ np.column_stack([points, np.ones(len(points))]).T)[:3].T
        spread = np.ptp(voxels, axis=0)
        axis = int(spread.argmin())
        middle = float(voxels[:, axis].mean())
        number = round(middle)
        off = np.abs(voxels[:, axis] - number).max()
        if off > _FLAT and spread[axis] > _FLAT:
            raise DataError(f"has a contour of '{name}' that lies in no slice of the image", where=path)
        if off > 0.5 or not 0 <= number < image.shape[axis]:
            raise DataError(f"has a contour of '{name}' outside of the image", where=path)
        if abs(planes.setdefault((axis, number), middle) - middle) > _FLAT:
            raise DataError(
                f"has contours of '{name}' nearer to each other than the slices of the image",
                where=path,
                remedy="Name the series on which they were drawn, or save a mask on the image's grid.",
            )
        plane = np.moveaxis(inside, axis, 0)[number]
        plane ^= polygon(np.delete(voxels, axis, axis=1), plane.shape)
    return inside, sorted(number for _, number in planes)


def polygon(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels whose centre is inside of a polygon, by the even-odd rule.

    Args:
        corners: (n, 2) in pixels, the centre of the first pixel at (0, 0).
        shape: (rows, columns).
    """
    inside = np.zeros(shape, dtype=bool)
    (y0, x0), (y1, x1) = corners.T, np.roll(corners, -1, axis=0).T
    columns = np.arange(shape[1])
    first, last = max(0, int(np.ceil(corners[:, 0].min()))), min(shape[0] - 1, int(corners[:, 0].max()))
    for row in range(first, last + 1):
        crosses = (y0 <= row) != (y1 <= row)
        if crosses.any():
            share = (row - y0[crosses]) / (y1[crosses] - y0[crosses])
            at = x0[crosses] + share * (x1[crosses] - x0[crosses])
            inside[row] = (columns[:, None] >= at).sum(axis=1) % 2 == 1
    return inside
