"""What lies on a voxel before lies on it after: image, channels, mask, boxes and points of one sample."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff
from numpy.typing import NDArray
from PIL import Image

from client.data.cache.preprocess import prepare
from client.data.formats.picture import Turn
from client.data.kinds import Kind, make_kinds
from client.data.kinds.boxes import LEAST_SEEN
from client.data.manifest.rows import Record
from client.data.samples.batches import Samples
from shared.batch import Batch
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.tasks.fields import Field
from tests.client.data.images.test_geometry import WAYS, affine_of
from tests.jobs import make_job

SHAPE = (7, 9, 8)
FIELDS = {
    "image": Field("image", ("image", "second")),
    "mask": Field("mask", role="target", classes=("a",)),
    "boxes": Field("boxes", role="target", classes=("a",)),
    "points": Field("points", role="target"),
}
EXACT = ["flip", "rotate90"]


def job_of(dimensions: int = 3, **data: Any) -> JobSpec:
    options = {
        "images": ["image", "second"],
        "channels": 2,
        "dimensions": dimensions,
        "intensity": "none",
        "augment": [],
        "size": None if "patch" in data else list(SHAPE[:dimensions]),
        **data,
    }
    return make_job(task_classes=["a"], **{f"data_{key}": value for key, value in options.items()})


def stored_volume(array: NDArray[Any], affine: NDArray[Any], way: NDArray[Any], path: Path) -> Path:
    turned = apply_orientation(array, way)
    nibabel.save(nibabel.Nifti1Image(turned, affine @ inv_ornt_aff(way, array.shape)), path)
    return path


def sample_of(
    files: dict[str, Path], boxes: Any, points: Any, job: JobSpec
) -> tuple[Samples, dict[str, Kind]]:
    cells = {column: str(path) for column, path in files.items()}
    cells |= {"boxes": json.dumps(boxes), "points": json.dumps(points)}
    kinds = make_kinds(FIELDS, job.data)
    record = Record(2, "p", (files["image"], files["second"]), cells=cells)
    found = prepare(record, kinds, job.data)
    columns = {name: [torch.from_numpy(value)] for name, value in found.values.items()}
    return Samples(job, columns, patients=["p"], keys=["k"], spacings=[None], kinds=kinds), kinds


def require_together(batch: Batch, value: float) -> None:
    """Check that the marked voxel is where mask, box and point say; nowhere if they say that."""
    image, mask, boxes, points = (batch[name][0] for name in FIELDS)
    axes = image.ndim - 1
    found = (image[0] == value).nonzero().tolist()
    torch.testing.assert_close(image[1][image[0] > 0], image[0][image[0] > 0] + 1000)
    assert (mask == 1).nonzero().tolist() == found
    if not found:
        assert len(boxes) == 0
        assert points.isnan().all()
        return
    (voxel,) = found
    assert boxes.tolist() == [[*voxel, *(place + 1 for place in voxel), 0]]
    assert points.floor().int().tolist() == [voxel]
    assert boxes.shape == (1, 2 * axes + 1)


@given(
    place=st.tuples(
        st.tuples(*[st.floats(-0.55, 0.55)] * 3),  # beyond, an axis may be nearest to another one
        st.tuples(*[st.floats(0.3, 4)] * 3),
        st.tuples(*[st.sampled_from(WAYS)] * 3),
    ),
    voxel=st.tuples(*[st.integers(0, length - 1) for length in SHAPE]),
    patch=st.none() | st.tuples(*[st.integers(3, 12)] * 3),
    seed=st.integers(0, 2**32),
)
def test_volumes(tmp_path_factory, place, voxel, patch, seed):
    angles, spacing, ways = place
    folder, affine = tmp_path_factory.mktemp("v"), affine_of(angles, spacing)
    volume = np.arange(1, np.prod(SHAPE) + 1, dtype=np.float32).reshape(SHAPE)
    value = float(volume[voxel])
    arrays = (volume, volume + 1000, (volume == value).astype(np.uint8))
    files = {
        name: stored_volume(array, affine, way, folder / f"{name}.nii")
        for name, array, way in zip(("image", "second", "mask"), arrays, ways, strict=True)
    }
    (at,) = np.argwhere(np.asarray(nibabel.load(files["image"]).dataobj) == value).tolist()
    box = [at[0], at[1], at[0] + 1, at[1] + 1, at[2], at[2] + 1, "a"]
    shape = {} if patch is None else {"patch": list(patch), "size": None}
    samples, _ = sample_of(files, [box], [at], job_of(augment=EXACT, **shape))
    require_together(samples.batch([0]), value)
    require_together(samples.batch([0], augment_seed=seed), value)


@pytest.mark.parametrize("tags", [(image, mask) for image in range(1, 9) for mask in (1, image)])
@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
def test_photographs_whose_tags_are_followed_or_left_aside(tmp_path, tags, shape):
    """Places are written as the photograph is shown, also where its mask was drawn on it as it is stored."""
    shown = np.arange(1, np.prod(shape) + 1, dtype=np.uint8).reshape(shape)
    row, column = 2, 1
    value = float(shown[row, column])
    files = {}
    stored = Turn.exif(tags[0]).undo(shown)
    for name, array, tag in (
        ("image", stored, tags[0]),
        ("second", stored, tags[0]),
        ("mask", (stored == value) * np.uint8(255), tags[1]),
    ):
        exif = Image.Exif()
        exif[274] = tag
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(array).save(files[name], exif=exif)
    try:
        samples, kinds = sample_of(
            files, [[column, row, column + 1, row + 1]], [[column, row]], job_of(2, patch=[8, 8], size=None)
        )
    except DataError as error:
        assert "orientation tag" in error.problem  # noqa: PT017
        return
    batch = samples.batch([0])
    image, mask, boxes, points = (batch[name][0] for name in kinds)
    (at,) = (image[0] == value).nonzero().tolist()
    assert (mask == 1).nonzero().tolist() == [at]
    assert boxes[0, :4].tolist() == [*at, at[0] + 1, at[1] + 1]
    assert points.floor().int().tolist() == [at]


@given(
    shape=st.tuples(st.integers(20, 40), st.integers(20, 40)),
    data=st.fixed_dictionaries(
        {
            "size": st.lists(st.integers(24, 48), min_size=2, max_size=2),
            "resize": st.sampled_from(["stretch", "pad"]),
            "patch": st.none() | st.lists(st.integers(16, 40), min_size=2, max_size=2),
        }
    ),
    corner=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    seed=st.integers(0, 2**32),
)
def test_resized_and_warped(tmp_path_factory, shape, data, corner, seed):
    """The box still holds its structure, and the point at its middle still lies in it, to a pixel."""
    folder = tmp_path_factory.mktemp("w")
    rows, columns = (int(share * (length - 8)) for share, length in zip(corner, shape, strict=True))
    picture = np.zeros(shape, np.uint8)
    picture[rows : rows + 8, columns : columns + 8] = 255
    files = {name: folder / f"{name}.png" for name in ("image", "second", "mask")}
    for path in files.values():
        Image.fromarray(picture).save(path)
    files["mask"].write_bytes(files["image"].read_bytes())
    box = [columns, rows, columns + 8, rows + 8, "a"]
    job = job_of(2, augment=[*EXACT, "rotate", "zoom", "crop", "elastic"], **data)
    samples, _ = sample_of(files, [box], [[columns + 3.5, rows + 3.5]], job)
    for batch in (samples.batch([0]), samples.batch([0], augment_seed=seed)):
        image, mask, boxes, points = (batch[name][0] for name in FIELDS)
        assert ((image[0] > 127) != (mask == 1)).float().mean() < 0.1
        if not points.isnan().any():
            middles = mask.nonzero() + 0.5
            assert (middles - points[0]).norm(dim=1).min() <= 1
        for low, high in boxes[:, :4].reshape(-1, 2, 2):
            inside = mask.nonzero().float()
            assert (inside >= low.floor() - 1).all()
            assert (inside <= high.ceil()).all()


def test_a_box_out_of_its_image_is_refused(tmp_path):
    for name in ("image", "second", "mask"):
        Image.fromarray(np.zeros((10, 20), np.uint8)).save(tmp_path / f"{name}.png")
    files = {name: tmp_path / f"{name}.png" for name in ("image", "second", "mask")}
    job = job_of(2, size=[10, 20])
    sample_of(files, [[15, 2, 19, 8]], [], job)
    for box, said in (
        ([2, 15, 8, 19], "reaches out of its image of 10x20"),
        ([5, 2, 5, 8], "has no area"),
        ([5, 2, 8, 8, "b"], "'b' of a box is not a class"),
        ([5, 2, 8], "a box has 4 corners and a class, not 3 entries"),
        ([5, 2, "x", 8], "'x' is not a coordinate"),
        ([5, 2, None, 8], "a box lacks a corner"),
    ):
        with pytest.raises(DataError) as caught:
            sample_of(files, [box], [], job)
        assert said in str(caught.value)
    with pytest.raises(DataError, match="a point lies out of its image"):
        sample_of(files, [], [[2, 15]], job)


@given(
    corners=st.lists(
        st.tuples(st.integers(0, 17), st.integers(0, 17), st.integers(2, 9), st.integers(2, 9)), max_size=4
    ),
    patch=st.tuples(st.integers(5, 24), st.integers(5, 24)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_box_that_a_patch_cuts_is_what_is_left_of_it_or_gone(corners, patch, seed):
    """Each object is painted into a channel of its own: what is seen of it says where its box is."""
    boxes = torch.tensor([[y, x, min(20, y + h), min(20, x + w), 0] for y, x, h, w in corners]).reshape(-1, 5)
    image = torch.zeros(len(boxes) + 1, 20, 20)
    for channel, (top, left, bottom, right, _) in zip(image, boxes.tolist(), strict=False):
        channel[top:bottom, left:right] = 1
    job = make_job(
        task_name="detection",
        task_classes=["a"],
        data_size=None,
        data_patch=list(patch),
        data_augment=EXACT,
        data_channels=len(image),
        task_most_boxes=1,
    )
    columns = {"image": image[None], "boxes": [boxes.float()]}
    samples = Samples(job, columns, patients=["p"], keys=["k"], spacings=[None])
    batch = samples.batch([0], augment_seed=seed)
    expected = []
    for channel, (top, left, bottom, right, _) in zip(batch["image"][0], boxes.tolist(), strict=False):
        seen = channel.nonzero()
        if len(seen) >= LEAST_SEEN * min((bottom - top) * (right - left), patch[0] * patch[1]):
            expected.append([*seen.amin(0).tolist(), *(seen.amax(0) + 1).tolist(), 0])
    assert batch["boxes"][0].tolist() == expected
