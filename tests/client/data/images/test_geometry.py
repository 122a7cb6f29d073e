"""What lies on a voxel before lies on it after, or the sample is refused, however its files are stored."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray
from PIL import Image

from client.data.cache.preprocess import prepare
from client.data.formats.picture import Turn
from client.data.images.geometry import TOLERANCE
from client.data.images.readers import read_image
from client.data.kinds import kinds_of
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.job.schema import JobSpec
from tests.jobs import make_job

SIDE = 6
WAYS = [
    np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)])
    for order in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]


def job_of(dimensions: int = 3, channels: int = 2, **options: Any) -> JobSpec:
    data = {
        "data_images": ["image", "second"][:channels],
        "data_channels": channels,
        "data_dimensions": dimensions,
        "data_size": [SIDE] * dimensions,
        "data_intensity": "none",
    }
    return make_job(**data | options)


def prepared(images: list[Path], mask: Path, job: JobSpec) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return image and mask as a network sees them."""
    cells = {column: str(path) for column, path in zip(job.data.images, images, strict=True)}
    record = Record(2, "p", tuple(images), cells={**cells, "mask": str(mask)})
    values = prepare(record, kinds_of(job), job.data).values
    return values["image"], values["mask"]


def marked() -> NDArray[np.float32]:
    """Return a volume whose every voxel has a number of its own."""
    return np.arange(1, SIDE**3 + 1, dtype=np.float32).reshape(SIDE, SIDE, SIDE)


def stored(
    array: NDArray[np.generic], affine: NDArray[np.float64], way: NDArray[np.int64], path: Path
) -> Path:
    """Save a volume in another order of axes; it lies where it lay."""
    turned = nibabel.orientations.apply_orientation(array, way)
    nibabel.save(nibabel.Nifti1Image(turned, affine @ inv_ornt_aff(way, array.shape)), path)
    return path


def affine_of(angles: tuple[float, float, float], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) * spacing
    affine[:3, 3] = -80, 12.5, 300
    return affine


places = st.tuples(
    st.tuples(*[st.floats(-0.55, 0.55)] * 3),  # beyond, an axis may be nearest to another one
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.tuples(*[st.sampled_from(WAYS)] * 3),
)


@given(place=places, marked_voxel=st.integers(1, SIDE**3))
def test_image_channel_and_mask_of_one_place_stay_together(tmp_path_factory, place, marked_voxel):
    angles, spacing, ways = place
    folder, affine, volume = tmp_path_factory.mktemp("g"), affine_of(angles, spacing), marked()
    image, second, mask = (
        stored(array, affine, way, folder / name)
        for array, way, name in zip(
            (volume, volume + 1000, (volume == marked_voxel).astype(np.uint8)),
            ways,
            ("i.nii", "c.nii", "m.nii"),
            strict=True,
        )
    )
    found_image, found_mask = prepared([image, second], mask, job_of())
    assert found_image[0][found_mask == 1].tolist() == [marked_voxel]
    np.testing.assert_array_equal(found_image[1], found_image[0] + 1000)


@given(
    place=places,
    shift=st.tuples(*[st.floats(-3, 3)] * 3),
    stretch=st.floats(0.9, 1.1),
    geometry=st.sampled_from(["strict", "resample"]),
)
def test_a_mask_that_lies_elsewhere_is_moved_or_refused_never_just_laid_on(
    tmp_path_factory, place, shift, stretch, geometry
):
    angles, spacing, ways = place
    folder, affine = tmp_path_factory.mktemp("g"), affine_of(angles, spacing)
    image = stored(marked(), affine, ways[0], folder / "i.nii")
    other = affine.copy()
    other[:3, :3] *= stretch
    other[:3, 3] += np.multiply(shift, spacing)
    labels = np.zeros((SIDE,) * 3, np.uint8)
    labels[2:5, 1:3, 3] = 1
    mask = stored(labels, other, ways[1], folder / "m.nii")
    try:
        _, found_mask = prepared([image], mask, job_of(channels=1, data_geometry=geometry))
    except DataError:
        return
    image_affine = read_image(image, 3).affine
    assert image_affine is not None
    found = np.argwhere(found_mask == 1)
    world = np.vstack([image_affine @ np.column_stack([found, np.ones(len(found))]).T, np.ones(len(found))])
    in_mask = np.linalg.inv(other) @ world
    nearest = np.clip(np.rint(in_mask[:3]).astype(int), 0, SIDE - 1)
    reach = 0.5 + (TOLERANCE if geometry == "strict" else 1e-6)
    assert (np.abs(in_mask[:3] - nearest) <= reach).all()
    assert (labels[tuple(nearest)] == 1).all()


@pytest.mark.parametrize("image_tag", range(1, 9))
@pytest.mark.parametrize("mask_tag", range(1, 9))
@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
def test_orientation_tags_are_applied_to_both_or_to_neither(tmp_path, image_tag, mask_tag, shape):
    upright = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape) + 1
    paths = []
    for name, array, tag in (
        ("i.png", upright, image_tag),
        ("m.png", (upright == 2) * np.uint8(255), mask_tag),
    ):
        exif = Image.Exif()
        exif[274] = tag
        Image.fromarray(Turn.exif(tag).undo(array)).save(tmp_path / name, exif=exif)
        paths.append(tmp_path / name)
    job = job_of(dimensions=2, channels=1, data_size=list(shape))
    if image_tag != mask_tag and shape[0] == shape[1]:
        with pytest.raises(DataError, match="orientation tag"):
            prepared(paths[:1], paths[1], job)
        return
    try:
        found_image, found_mask = prepared(paths[:1], paths[1], job)
    except DataError as error:
        assert "orientation tag" in error.problem  # noqa: PT017
        return
    assert found_image[0][found_mask == 1].tolist() == [2]


def test_a_mask_drawn_on_the_stored_pixels_of_a_tagged_photograph_lies_on_them(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "i.png", exif=exif)
    Image.fromarray((pixels == 7) * np.uint8(255)).save(tmp_path / "m.png")
    found_image, found_mask = prepared(
        [tmp_path / "i.png"], tmp_path / "m.png", job_of(2, 1, data_size=[4, 6])
    )
    assert found_image[0][found_mask == 1].tolist() == [7]


def test_a_mask_without_a_place_lies_in_the_image_s_order_of_axes_where_the_job_says_so(tmp_path):
    volume = marked()
    image = stored(volume, np.diag([-1.0, -1.0, 1.0, 1.0]), WAYS[5], tmp_path / "i.nii")
    as_stored = np.asarray(nibabel.load(image).dataobj)
    np.save(tmp_path / "m.npy", (as_stored == 50).astype(np.uint8))
    with pytest.raises(DataError, match="does not say where it lies"):
        prepared([image], tmp_path / "m.npy", job_of(channels=1))
    found_image, found_mask = prepared([image], tmp_path / "m.npy", job_of(channels=1, data_geometry="array"))
    assert found_image[0][found_mask == 1].tolist() == [50]


def test_a_mask_that_was_cut_to_its_structure_lies_where_it_was_cut_out(tmp_path):
    volume = marked()
    image = stored(volume, np.diag([-1.0, -1.0, 2.0, 1.0]), WAYS[0], tmp_path / "i.nii")
    cut = nibabel.load(image).slicer[1:4, 2:5, 3:6]
    mask = nibabel.Nifti1Image((np.asarray(cut.dataobj) > 0).astype(np.uint8), cut.affine)
    nibabel.save(mask, tmp_path / "m.nii")
    found_image, found_mask = prepared([image], tmp_path / "m.nii", job_of(channels=1))
    assert sorted(found_image[0][found_mask == 1].tolist()) == sorted(
        np.asarray(cut.dataobj).ravel().tolist()
    )


def test_a_mask_of_another_size_says_both_sizes(tmp_path):
    image = stored(marked(), np.eye(4), WAYS[0], tmp_path / "i.nii")
    far = np.eye(4)
    far[:3, 3] = 0.5
    nibabel.save(nibabel.Nifti1Image(np.zeros((SIDE, SIDE, SIDE - 1), np.uint8), far), tmp_path / "m.nii")
    with pytest.raises(DataError, match="6x6x5 voxels, the image 6x6x6"):
        prepared([image], tmp_path / "m.nii", job_of(channels=1))
