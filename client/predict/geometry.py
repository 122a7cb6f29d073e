"""What a network says on its own grid, back on the grid of the file that it was shown."""

import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.picture import Picture, Turn
from client.data.images.network_grid import Grid
from client.data.kinds import Kind, first_of_kind
from client.data.kinds.mask import MaskKind
from client.data.kinds.measured import MeasuredKind
from client.data.kinds.row_images import Scene, read_scene
from client.data.manifest.rows import Record
from client.predict.displacements import PlacedField, place_field
from client.predict.images import PlacedImage, place_image
from client.predict.places import NIFTI, as_stored_nifti, stored_affine
from shared.job.data_options import DataTable
from shared.tasks.answers import Answer, FoundBoxes

_SURE = 0.3  # score of a box from which it is drawn, and how many of an image at most
_MOST_BOXES = 20


@dataclass(frozen=True)
class Placed:
    """An image as its file holds it, and on it what was predicted and what is true.

    Attributes:
        file: The image's first.
        mask: Class of each pixel (*S), or the number of its instance.
        boxes: (N, 2 D + 1), see `client.data.kinds.boxes`.
        scores: Of each box (N,).
        images: By what they are.
        displacement: To another image.
        true_mask: As `mask`.
        true_boxes: As `boxes`.
    """

    picture: Picture
    file: Path
    mask: NDArray[np.uint8] | NDArray[np.int32] | None
    boxes: NDArray[np.float32] | None
    scores: NDArray[np.float64] | None
    images: Mapping[str, PlacedImage]
    displacement: PlacedField | None
    true_mask: NDArray[np.uint8] | NDArray[np.int32] | None
    true_boxes: NDArray[np.float32] | None

    @property
    def sure(self) -> "Placed":
        """The same with those boxes alone that are drawn and reported, the best first."""
        if self.boxes is None or self.scores is None:
            return self
        kept = np.flatnonzero(self.scores >= _SURE)[:_MOST_BOXES]
        return replace(self, boxes=self.boxes[kept], scores=self.scores[kept])


def place(record: Record, kinds: Mapping[str, Kind], data: DataTable, answer: Answer) -> Placed | None:
    """Return an answer on the image of its row; None where a row has no image.

    Raises:
        DataError: The image can't be read any more.
    """
    name = first_of_kind(kinds, "image")
    if not name:
        return _made_of_measured(record, kinds, answer)
    if not kinds[name].is_given(record):
        return None
    scene = read_scene(record, kinds, data)
    picture, grid = scene.pictures[name], scene.grids[name]
    boxes = scores = None
    if answer.boxes is not None:
        boxes, scores = _boxes_before(answer.boxes, grid), answer.boxes.scores.numpy()
    return Placed(
        picture,
        kinds[name].files(record)[0],
        _mask_before(answer, grid),
        boxes,
        scores,
        {what: place_image(found, name, data, scene) for what, found in answer.images.items()},
        None if answer.displacement is None else place_field(answer.displacement, name, scene),
        _true_mask(record, kinds, scene),
        _true_boxes(record, kinds, scene, grid),
    )


def _made_of_measured(record: Record, kinds: Mapping[str, Kind], answer: Answer) -> Placed | None:
    """Return an image that was made of what a scanner measured, which lies nowhere but in itself."""
    measured = next((kind for kind in kinds.values() if isinstance(kind, MeasuredKind)), None)
    given = next((found.given for found in answer.images.values() if found.given is not None), None)
    if measured is None or given is None:
        return None
    before = given.detach().float().cpu().numpy()
    picture = Picture(before, measured.spacing(record), turn=Turn.none(before.ndim - 1))
    images = {
        what: PlacedImage(found.values.detach().float().cpu().numpy(), None, found.holds, before)
        for what, found in answer.images.items()
    }
    return Placed(picture, measured.files(record)[0], None, None, None, images, None, None, None)


def _mask_before(answer: Answer, grid: Grid) -> NDArray[np.uint8] | NDArray[np.int32] | None:
    if answer.instances is not None:
        return grid.numbers_before(answer.instances.numpy())
    return None if answer.map is None else grid.labels_before(answer.map.float().numpy())


def _boxes_before(found: FoundBoxes, grid: Grid) -> NDArray[np.float32]:
    low, high = (grid.points_before(part.numpy()) for part in found.corners.tensor_split(2, dim=1))
    return np.concatenate([low, high, found.classes.numpy()[:, None]], axis=1).astype(np.float32)


def _true_mask(
    record: Record, kinds: Mapping[str, Kind], scene: Scene
) -> NDArray[np.uint8] | NDArray[np.int32] | None:
    masks = {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, MaskKind) and kind.is_predicted and _on_first(kind, kinds)
    }
    kind = next((kind for name, kind in masks.items() if name in scene.raws), None)
    return None if kind is None else kind.stored(record, scene)


def _on_first(kind: Kind, kinds: Mapping[str, Kind]) -> bool:
    """Say whether a field lies on the first image."""
    return kind.field.grid in (None, first_of_kind(kinds, "image"))


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
    if axes == 2:
        return placed.boxes[:, :4].astype(np.float64).reshape(-1, 2, 2)[..., ::-1].reshape(-1, 4)
    low, high = np.moveaxis(stored_corners(placed), 1, 0)
    return np.stack([low[:, 0], low[:, 1], high[:, 0], high[:, 1], low[:, 2], high[:, 2]], axis=1)


def stored_corners(placed: Placed) -> NDArray[np.float64]:
    """Return the lower and the upper corner of boxes (N, 2, axes of the file) in the file's order of axes."""
    assert placed.boxes is not None  # noqa: S101 (asked for where there are some)
    turn, axes = placed.picture.turn, placed.boxes.shape[1] // 2
    ends = placed.boxes[:, : 2 * axes].astype(np.float64).reshape(-1, 2, axes)
    stored = np.zeros((len(ends), 2, turn.stored))
    stored[:, 1] = 1  # along an axis of length 1 that is not shown
    stored[..., list(turn.axes)] = np.where(turn.flipped, np.array(placed.picture.shape) - ends, ends)
    return np.stack([stored.min(axis=1), stored.max(axis=1)], axis=1)


def mask_file(placed: Placed) -> tuple[str, bytes]:
    """Return the ending and the content of a mask in the geometry of its image's file.

    Of a NIfTI file: NIfTI of its shape, with its own affine. Of other volumes: NIfTI in the file's order of
    axes, where it lies. Of other pictures: PNG, as large as the picture as it is shown.
    """
    picture = placed.picture
    assert placed.mask is not None  # noqa: S101 (asked for where there is one)
    kept = np.uint8 if placed.mask.dtype == np.uint8 else np.uint16  # few programs read 32 bits
    mask: NDArray[np.integer[Any]] = placed.mask.astype(kept)
    if placed.file.name.lower().endswith(NIFTI):
        return ".nii.gz", _packed(as_stored_nifti(placed.file, picture.turn.undo(mask)))
    if len(picture.shape) == 3:
        return ".nii.gz", _packed(nibabel.Nifti1Image(picture.turn.undo(mask), stored_affine(picture)))
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return ".png", stream.getvalue()


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
