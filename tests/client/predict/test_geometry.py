"""From the network's grid back to the file: what was read from a manifest comes back as it was written."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from client.data.cache.preprocess import prepare
from client.data.images.network_grid import Grid
from client.data.images.readers import Layout, read_files
from client.data.kinds import kinds_of
from client.data.manifest.rows import Record
from client.predict.geometry import mask_file, place, written_corners
from client.predict.images import image_file
from client.predict.reasons import reasons_on
from shared.job.schema import JobSpec
from shared.tasks.answers import Answer, FoundBoxes, FoundImage
from tests.jobs import make_job

AFFINES = {
    "ras": np.diag([1.0, 1.5, 2.0, 1]),
    "lps": np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 5], [0, 0, 2.0, 3], [0, 0, 0, 1]]),
    "turned": np.array([[0, 0, 1.5, 7], [1.0, 0, 0, -3], [0, -1.0, 0, 9], [0, 0, 0, 1]]),
}
SIZES = {2: [24, 20], 3: [24, 20, 28]}


def row(file: Path, **cells: str) -> Record:
    given_cells = {"image": file.name, **cells}
    return Record(2, "p", (file,), cells=given_cells, folder=file.parent)


def written(folder: Path, kind: str) -> Path:
    x, y, z = np.meshgrid(np.arange(14.0), np.arange(11), np.arange(9), indexing="ij")
    if kind in AFFINES:
        file = folder / f"{kind}.nii.gz"
        values = (9 * x + y * y + 2 * z + x * y).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, AFFINES[kind]), file)
        return file
    pixels = (9 * x + y * y)[..., 0].astype(np.uint8)
    if kind == "slice":
        file = folder / "slice.nii.gz"
        nibabel.save(nibabel.Nifti1Image(pixels[..., None].astype(np.float32), AFFINES["lps"]), file)
        return file
    file = folder / f"{kind}.png"
    exif = Image.Exif()
    exif[0x0112] = {"plain": 1, "exif": 6}[kind]
    Image.fromarray(pixels).save(file, exif=exif)
    return file


def job_of(kind: str, task: str, resize: str) -> JobSpec:
    dimensions = 3 if kind in AFFINES else 2
    data = {"dimensions": dimensions, "size": SIZES[dimensions], "resize": resize}
    return make_job(task_name=task, data=data)


KINDS = ["plain", "exif", *AFFINES]


@pytest.mark.parametrize("resize", ["stretch", "pad", "keep"])
@pytest.mark.parametrize("kind", KINDS)
def test_boxes_come_back_as_a_manifest_has_them(tmp_path, kind, resize) -> None:
    job = job_of(kind, "detection", resize)
    file = written(tmp_path, kind)
    corners = [[2, 3, 5, 8], [0, 1, 4, 6]]
    if kind in AFFINES:
        corners = [[*box, *z] for box, z in zip(corners, ([1, 4], [2, 9]), strict=True)]
    record = row(file, boxes=json.dumps([[*box, "disc"] for box in corners]))
    kinds = kinds_of(job)
    boxes = torch.from_numpy(prepare(record, kinds, job.data).values["boxes"])
    found = FoundBoxes(boxes[:, :-1], boxes[:, -1].long(), torch.tensor([0.9, 0.8]))
    placed = place(record, kinds, job.data, Answer({}, boxes=found))
    assert placed is not None
    np.testing.assert_allclose(written_corners(placed), corners, atol=1e-4)
    assert placed.true_boxes is not None
    np.testing.assert_allclose(placed.true_boxes, placed.boxes, atol=1e-4)


@pytest.mark.parametrize("resize", ["stretch", "pad", "keep"])
@pytest.mark.parametrize("kind", [*KINDS, "slice"])
def test_a_mask_lies_on_its_image(tmp_path, kind, resize) -> None:
    """The class of a pixel is how bright it is, so that a mask that is turned or moved would show."""
    job = job_of(kind, "segmentation", resize)
    file = written(tmp_path, kind)
    kinds = {"image": kinds_of(job)["image"]}
    image = torch.from_numpy(prepare(row(file), kinds, job.data).values["image"])
    placed = place(row(file), kinds, job.data, Answer({}, map=torch.cat([-image, image])))
    assert placed is not None
    ending, content = mask_file(placed)
    mask = tmp_path / f"mask{ending}"
    mask.write_bytes(content)
    if file.suffix == ".gz":
        own, other = nibabel.load(file), nibabel.load(mask)
        assert own.shape == other.shape
        np.testing.assert_array_equal(own.affine, other.affine)
        values, labels = own.get_fdata(), np.asarray(other.dataobj)
    else:
        values, labels = read_files([file], None, Layout())[0].array[0], np.asarray(Image.open(mask))
    bright, dark = labels == 1, labels == 0
    assert bright.any()
    assert dark.any()
    assert (bright == (values > values.mean())).mean() > 0.9


def image_job(kind: str, **options: object) -> JobSpec:
    dimensions = 3 if kind in AFFINES else 2
    return make_job(task_name="restoration", data_dimensions=dimensions, **options)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("kind", [*KINDS, "slice"])
def test_an_image_comes_back_in_its_own_units_and_place(tmp_path, kind, resize) -> None:
    size = [size * 2 for size in SIZES[3 if kind in AFFINES else 2]]
    options = {"data_window": None, "data_intensity": "minmax", "data_size": size, "data_resize": resize}
    job, file = image_job(kind, **options), written(tmp_path, kind)
    kinds = kinds_of(job)
    image = torch.from_numpy(prepare(row(file), kinds, job.data).values["image"])
    answer = Answer({}, images={"restored": FoundImage(image, "units")})
    placed = place(row(file), kinds, job.data, answer)
    assert placed is not None
    ending, content = image_file(placed.images["restored"], placed.picture, file)
    made = tmp_path / f"made{ending}"
    made.write_bytes(content)
    if file.suffix == ".gz":
        own, other = nibabel.load(file), nibabel.load(made)
        assert own.shape == other.shape
        assert other.get_data_dtype() == np.float32
        np.testing.assert_array_equal(own.affine, other.affine)
        before, after = own.get_fdata(), other.get_fdata()
    else:
        before, after = read_files([file], None, Layout())[0].array[0], np.asarray(Image.open(made))
        assert after.dtype == np.uint8
    assert np.abs(before - after).mean() < 0.02 * np.ptp(before)


def test_finer_images_lie_where_their_voxels_do(tmp_path) -> None:
    """A corner of the file's grid is a corner of the finer one, whatever way the file is stored."""
    for kind in AFFINES:
        job = image_job(kind, data_window=None, data_intensity="minmax", data_size=[44, 56, 36])
        file = written(tmp_path, kind)
        kinds = kinds_of(job)
        image = torch.from_numpy(prepare(row(file), kinds, job.data).values["image"])
        answer = Answer({}, images={"restored": FoundImage(image, "units", fine=True)})
        placed = place(row(file), kinds, job.data, answer)
        assert placed is not None
        ending, content = image_file(placed.images["restored"], placed.picture, file)
        (tmp_path / f"fine{ending}").write_bytes(content)
        own, fine = nibabel.load(file), nibabel.load(tmp_path / f"fine{ending}")
        assert sorted(fine.shape) == [36, 44, 56]
        for corner in ([0, 0, 0], [1, 1, 1], [1, 0, 1]):
            ends = [part.affine @ [*(np.array(corner) * part.shape - 0.5), 1] for part in (own, fine)]
            np.testing.assert_allclose(*ends, atol=1e-4)


def test_numbers_are_written_as_they_are(tmp_path) -> None:
    """A field of two channels on a picture of 8 bits: no PNG could hold it."""
    job, file = image_job("plain", data_size=[24, 20]), written(tmp_path, "plain")
    values = torch.randn(2, 24, 20)
    placed = place(
        row(file), kinds_of(job), job.data, Answer({}, images={"moved": FoundImage(values, "numbers")})
    )
    assert placed is not None
    ending, content = image_file(placed.images["moved"], placed.picture, file)
    (tmp_path / f"moved{ending}").write_bytes(content)
    moved = nibabel.load(tmp_path / f"moved{ending}")
    assert moved.shape == (*placed.picture.shape, 1, 2)
    assert (
        abs(np.asarray(moved.dataobj)[..., 0, :].mean(axis=(0, 1)) - values.mean((1, 2)).numpy()).max() < 0.1
    )


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("kind", [*KINDS, "slice"])
def test_reasons_lie_on_their_image(tmp_path, kind, resize) -> None:
    """The map is the image itself, so that one that is turned or moved would show."""
    job = job_of(kind, "segmentation", resize)
    file = written(tmp_path, kind)
    kinds = {"image": kinds_of(job)["image"]}
    image = torch.from_numpy(prepare(row(file), kinds, job.data).values["image"])
    answer = Answer({}, reasons={"grad-cam": image[0]})
    placed = place(row(file), kinds, job.data, answer)
    assert placed is not None
    [reasons] = reasons_on(placed, job.data, answer)
    ending, content = reasons.file()
    path = tmp_path / f"map{ending}"
    path.write_bytes(content)
    if file.suffix == ".gz":
        own, other = nibabel.load(file), nibabel.load(path)
        np.testing.assert_array_equal(own.affine, other.affine)
        pair = own.get_fdata(), other.get_fdata()
    else:
        pair = read_files([file], None, Layout())[0].array[0], np.asarray(Image.open(path), np.float64)
        pair = tuple(part[pair[1] > 0] for part in pair)  # what speaks against is not in a picture
    assert pair[0].shape == pair[1].shape
    assert np.corrcoef(*(part.ravel() for part in pair))[0, 1] > 0.98
    assert len(reasons.tiles()) == (3 if kind in AFFINES else 1)


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=3).flatmap(
        lambda before: st.tuples(
            st.just(tuple(before)), st.tuples(*[st.integers(1, 12)] * len(before)), st.integers(0, 5)
        )
    )
)
def test_points_come_back(shapes) -> None:
    before, inner, more = shapes
    grid = Grid(before, inner, tuple(length + more for length in inner), None)
    points = np.random.default_rng(0).uniform(0, 1, (20, len(before))) * before
    np.testing.assert_allclose(grid.points_before(grid.points(points)), points, atol=1e-3)
    labels = np.random.default_rng(1).integers(0, 3, before).astype(np.uint8)
    scores = np.stack([(labels == index).astype(np.float32) for index in range(3)])
    same = Grid(before, before, before, None)
    np.testing.assert_array_equal(same.labels_before(scores), labels)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("kind", KINDS)
def test_instances_lie_on_their_image_with_numbers_of_16_bits(tmp_path, kind, resize) -> None:
    """Bright pixels are instance 300, the others none: what is turned or moved would show."""
    job = job_of(kind, "instances", resize)
    file = written(tmp_path, kind)
    kinds = {"image": kinds_of(job)["image"]}
    image = prepare(row(file), kinds, job.data).values["image"][0]
    numbers = torch.from_numpy(np.where(image > 0, 300, 0).astype(np.int32))
    placed = place(row(file), kinds, job.data, Answer({}, instances=numbers))
    assert placed is not None
    assert placed.mask is not None
    original = placed.picture.array[0]
    (tmp_path / "mask").mkdir()
    ending, content = mask_file(placed)
    mask = tmp_path / f"mask/m{ending}"
    mask.write_bytes(content)
    picture, raw = read_files([file], mask, Layout(len(original.shape)))
    assert raw is not None
    assert set(np.unique(raw.array)) == {0, 300}
    low, high = (picture.array[0][raw.array[0] == value].mean() for value in (0, 300))
    assert high > low + 20


def test_where_pixels_count_is_not_what_is_true(tmp_path) -> None:
    job = make_job(task_region="view", data_size=[14, 11])
    file = written(tmp_path, "plain")
    view = np.zeros((14, 11), np.uint8)
    view[3:12, 2:9] = 255
    Image.fromarray(view).save(tmp_path / "view.png")
    record = row(file, view="view.png")
    kinds = {name: kind for name, kind in kinds_of(job).items() if name != "mask"}
    placed = place(record, kinds, job.data, Answer({}, map=torch.zeros(2, 14, 11)))
    assert placed is not None
    assert placed.true_mask is None
