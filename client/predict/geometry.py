"""What a network says on its own grid, back on the grid of the file that it was shown."""

import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.nifti import nifti_header
from client.data.formats.picture import Picture
from client.data.images.network_grid import Grid
from client.data.images.readers import structure_indices
from client.data.kinds import Kind, first_of_kind
from client.data.kinds.mask import MaskKind
from client.data.kinds.row_images import Scene, read_scene
from client.data.manifest.rows import Record
from shared.job.schema import DataTable
from shared.tasks.answers import Answer, FoundBoxes

_NIFTI = (".nii", ".nii.gz")
# What of a NIfTI header says where the image lies; the rest may name the patient.
_PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True)
class Placed:
    """An image as its file holds it, and on it what was predicted and what is true.

    Attributes:
        file: The image's first.
        mask: Class of each pixel (*S).
        boxes: (N, 2 D + 1), see `client.data.kinds.boxes`.
        scores: Of each box (N,).
        true_mask: As `mask`.
        true_boxes: As `boxes`.
    """

    picture: Picture
    file: Path
    mask: NDArray[np.uint8] | None
    boxes: NDArray[np.float32] | None
    scores: NDArray[np.float64] | None
    true_mask: NDArray[np.uint8] | None
    true_boxes: NDArray[np.float32] | None


def place(record: Record, kinds: Mapping[str, Kind], data: DataTable, answer: Answer) -> Placed | None:
    """Return an answer on the image of its row; None where a row has no image.

    Raises:
        DataError: The image can't be read any more.
    """
    name = first_of_kind(kinds, "image")
    if not name:
        return None
    scene = read_scene(record, kinds, data)
    picture, grid = scene.pictures[name], scene.grids[name]
    boxes = scores = None
    if answer.boxes is not None:
        boxes, scores = _boxes_before(answer.boxes, grid), answer.boxes.scores.numpy()
    return Placed(
        picture,
        kinds[name].files(record)[0],
        None if answer.map is None else grid.labels_before(answer.map.float().numpy()),
        boxes,
        scores,
        _true_mask(record, kinds, scene),
        _true_boxes(record, kinds, scene, grid),
    )


def _boxes_before(found: FoundBoxes, grid: Grid) -> NDArray[np.float32]:
    low, high = (grid.points_before(part.numpy()) for part in found.corners.tensor_split(2, dim=1))
    return np.concatenate([low, high, found.classes.numpy()[:, None]], axis=1).astype(np.float32)


def _true_mask(record: Record, kinds: Mapping[str, Kind], scene: Scene) -> NDArray[np.uint8] | None:
    name = first_of_kind(kinds, "mask")
    kind = kinds.get(name)
    if not isinstance(kind, MaskKind) or name not in scene.raws:
        return None
    return structure_indices(scene.raws[name], kind.files(record)[0], kind.field)


def _true_boxes(
    record: Record, kinds: Mapping[str, Kind], scene: Scene, grid: Grid
) -> NDArray[np.float32] | None:
    name = first_of_kind(kinds, "boxes")
    if not name:
        return None
    boxes: NDArray[np.float32] = kinds[name].read(record, scene)
    axes = boxes.shape[1] // 2
    ends = [grid.points_before(boxes[:, part]) for part in (slice(axes), slice(axes, 2 * axes))]
    return np.concatenate([*ends, boxes[:, -1:]], axis=1).astype(np.float32)


def written_corners(placed: Placed) -> NDArray[np.float64]:
    """Return the boxes as a manifest has them, (N, 2 D): x0, y0, x1, y1 and, in a volume, z0, z1."""
    assert placed.boxes is not None  # noqa: S101 (asked for where there are some)
    axes = placed.boxes.shape[1] // 2
    ends = placed.boxes[:, : 2 * axes].astype(np.float64).reshape(-1, 2, axes)
    if axes == 2:
        return ends[..., ::-1].reshape(-1, 4)
    turn, stored = placed.picture.turn, np.empty_like(ends)
    shown = np.where(turn.flipped, np.array(placed.picture.shape) - ends, ends)
    stored[..., list(turn.axes)] = shown
    low, high = stored.min(axis=1), stored.max(axis=1)
    return np.stack([low[:, 0], low[:, 1], high[:, 0], high[:, 1], low[:, 2], high[:, 2]], axis=1)


def mask_file(placed: Placed) -> tuple[str, bytes]:
    """Return the ending and the content of a mask in the geometry of its image's file.

    Of a NIfTI file: NIfTI of its shape, with its own affine. Of other volumes: NIfTI in the file's order of
    axes, where it lies. Of other pictures: PNG, as large as the picture as it is shown.
    """
    picture, mask = placed.picture, placed.mask
    assert mask is not None  # noqa: S101 (asked for where there is one)
    if placed.file.name.lower().endswith(_NIFTI):
        return ".nii.gz", _packed(_as_stored_nifti(placed.file, picture.turn.undo(mask)))
    if len(picture.shape) == 3:
        return ".nii.gz", _packed(nibabel.Nifti1Image(picture.turn.undo(mask), _stored_affine(picture)))
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return ".png", stream.getvalue()


def _as_stored_nifti(file: Path, mask: NDArray[np.uint8]) -> nibabel.Nifti1Image:
    header = nifti_header(file)
    own = nibabel.Nifti1Header()
    own.set_data_dtype(np.uint8)
    shape = (*header.get_data_shape(), 1, 1)[:3]
    own.set_data_shape(shape)
    for key in _PLACE:
        own[key] = header[key]
    own["pixdim"][4:] = 1
    return nibabel.Nifti1Image(mask.reshape(shape), None, own)


def _stored_affine(picture: Picture) -> NDArray[np.float64]:
    """Return the affine (4, 4) of a volume in its file's own order of axes; the inverse of `Turn.place`."""
    turned, turn, affine = picture.affine, picture.turn, np.eye(4)
    if turned is None:
        turned = np.column_stack([np.diag(picture.spacing or (1.0,) * 3), np.zeros(3)])
    affine[:3, 3] = turned[:, 3]
    for place_, (axis, flip) in enumerate(zip(turn.axes, turn.flipped, strict=True)):
        step = turned[:, place_]
        affine[:3, axis] = -step if flip else step
        affine[:3, 3] += step * (picture.shape[place_] - 1) if flip else 0
    return affine


def _packed(image: Any) -> bytes:
    return gzip.compress(image.to_bytes(), mtime=0)  # the time of writing is none of the result


def sizes(placed: Placed, classes: tuple[str, ...]) -> dict[str, float]:
    """Return how large each structure is on the image's own grid: in ml, in mm², or in pixels."""
    picture, mask = placed.picture, placed.mask
    assert mask is not None  # noqa: S101 (asked for where there is one)
    counts = np.bincount(mask.ravel(), minlength=1 + len(classes))[1:]
    if picture.spacing is None:
        return {f"pixels/{name}": int(count) for name, count in zip(classes, counts, strict=True)}
    size = float(np.prod(picture.spacing))
    unit, scale = ("ml", size / 1000) if len(picture.shape) == 3 else ("mm2", size)
    return {f"{unit}/{name}": float(count * scale) for name, count in zip(classes, counts, strict=True)}
