"""Instances: how their files are read, what augmentation leaves of them, and what a check says of them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from client.data.cache.preprocess import prepare
from client.data.check.dataset_check import Report, check_dataset
from client.data.check.expected import Expected
from client.data.kinds import kinds_of
from client.data.manifest.new_manifest import write_manifest
from client.data.manifest.rows import scan_manifest
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.batches import Samples
from client.data.suggested_job import write_job_of
from shared.errors import DataError
from shared.job.schema import JobSpec, load_job
from tests.jobs import make_job
from tests.simulate.data.test_phantom import rows_of

SPLIT = Split(CohortKey.drawn(0))


def job(**options: Any) -> JobSpec:
    named = {"task_name": "instances", "data_size": [24, 24], "data_augment": [], "data_intensity": "none"}
    return make_job(**named | options)


def cells(count: int, seed: int = 0) -> NDArray[np.uint16]:
    """Return a map (24, 24) of squares with the numbers 1 to N."""
    numbers = np.zeros((24, 24), np.uint16)
    places = np.random.default_rng(seed).permutation(16)[:count]
    for number, place in enumerate(places.tolist(), 1):
        row, column = 6 * (place // 4), 6 * (place % 4)
        numbers[row : row + 4, column : column + 5] = number
    return numbers


def write(folder: Path, masks: list[Any]) -> Path:
    """Write noise with masks beside it, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    rows = []
    for number, mask in enumerate(masks):
        Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)).save(folder / f"{number}.png")
        cell = mask if isinstance(mask, str) else f"{number}_mask.png"
        if not isinstance(mask, str):
            Image.fromarray(mask).save(folder / cell)
        rows.append({"patient": f"p{number}", "image": f"{number}.png", "mask": cell})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["patient", "image", "mask"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def numbers_in(manifest: Path, spec: JobSpec) -> list[NDArray[Any]]:
    kinds = kinds_of(spec)
    records = scan_manifest(manifest, ("image",), ("mask",)).records
    return [prepare(record, kinds, spec.data).values["instances"] for record in records]


def check(manifest: Path, spec: JobSpec | None = None) -> Report:
    return check_dataset(manifest, None if spec is None else Expected.of(spec), split=SPLIT)


def test_maps_files_and_folders_of_single_masks_are_the_same_instances(tmp_path: Path) -> None:
    numbers = cells(5)
    for number in range(1, 6):
        (tmp_path / "single").mkdir(exist_ok=True)
        Image.fromarray((numbers == number) * np.uint8(255)).save(tmp_path / f"single/{number}.png")
    files = "|".join(f"single/{number}.png" for number in range(1, 6))
    for found in numbers_in(write(tmp_path, [numbers, 1000 * numbers, "single", files]), job()):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, numbers)


def test_the_grid_of_a_network_keeps_whole_numbers_and_adds_nothing_around(tmp_path: Path) -> None:
    full = np.tile(np.arange(1, 25, dtype=np.uint16) * 11, (24, 1))  # without any background
    manifest = write(tmp_path, [full])
    [small] = numbers_in(manifest, job(data_size=[12, 12]))
    assert set(np.unique(small)) <= set(range(1, 25))
    [framed] = numbers_in(manifest, job(data_size=[24, 48], data_resize="pad"))
    assert not framed[:, :12].any()
    assert (framed[:, 12:36] == np.arange(1, 25)).all()


@pytest.mark.parametrize("patch", [None, [10, 14]])
def test_instances_move_with_their_image(patch: list[int] | None) -> None:
    """Each pixel of the image is the number of its instance: so it is after flips, turns and cuts."""
    numbers = torch.from_numpy(cells(16).astype(np.int32))
    sizes = {"data_patch": patch, "data_size": None} if patch else {}
    spec = job(data_augment=["flip", "rotate90"], **sizes)
    columns = {"image": numbers[None, None].float(), "instances": numbers[None]}
    samples = Samples(spec, columns, patients=["p"], keys=["k"], spacings=[None])
    seen = set()
    for seed in range(8):
        batch = samples.batch([0], augment_seed=seed)
        assert batch["instances"].dtype == torch.int32
        torch.testing.assert_close(batch["image"][0, 0], batch["instances"][0].float())
        seen.add(batch["instances"].numpy().tobytes())
    assert len(seen) > 3


def test_a_turn_between_pixels_makes_no_instance_of_two() -> None:
    numbers = torch.from_numpy(np.where(cells(16), 40_000 + cells(16).astype(np.int64), 0).astype(np.int32))
    spec = job(data_augment=["rotate", "zoom"])
    columns = {"image": numbers[None, None].float(), "instances": numbers[None]}
    samples = Samples(spec, columns, patients=["p"], keys=["k"], spacings=[None])
    for seed in range(6):
        moved = samples.batch([0], augment_seed=seed)["instances"]
        assert set(moved.unique().tolist()) <= set(numbers.unique().tolist())


def test_what_is_no_map_of_instances_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 60_000, (24, 24)).astype(np.uint16)
    with pytest.raises(DataError, match="looks like an image"):
        numbers_in(write(tmp_path, [noise]), job())
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.full((24, 24), 255, np.uint8)).save(tmp_path / f"two/{name}.png")
    with pytest.raises(DataError, match=r"overlaps a\.png in 576 pixels"):
        numbers_in(write(tmp_path, ["two"]), job())


def test_a_check_counts_instances_and_asks_about_masks_of_structures(tmp_path: Path) -> None:
    report = check(write(tmp_path / "good", [cells(count, count) for count in (0, 3, 7, 12)]), job())
    assert not report.errors
    lines = list(report.tallies["instances"].lines())
    assert "instances in an image: 0 to 12, mean 5.5; none in 1 of 4 rows" in lines
    assert "disc (22)" in lines
    assert not any("instances" in warning for warning in report.warnings)
    wrong = [(cells(count, count) > 0).astype(np.uint8) for count in (3, 7, 12)]
    report = check(write(tmp_path / "wrong", wrong), job())
    assert any("is each object numbered? (3 of 3 rows)" in warning for warning in report.warnings)


def looks_like_instances(report: Report) -> bool:
    assert not report.errors, report.errors
    return any("look like maps of instances" in warning for warning in report.warnings)


def test_maps_of_instances_are_not_silently_structures(tmp_path: Path) -> None:
    """With three classes, three numbers look like structures to a job that says nothing."""
    manifest = write(tmp_path / "few", [cells(count, count) for count in (1, 2, 3, 3, 2)])
    classes = {"task_name": "segmentation", "data_size": [24, 24]}
    assert looks_like_instances(check(manifest))
    assert looks_like_instances(check(manifest, make_job(task_classes=["a", "b", "c"], **classes)))
    said = {"task_classes": ["a"], "task_labels": {"1": "a", "2": "a", "3": "background"}}
    assert not looks_like_instances(check(manifest, make_job(**classes, **said)))
    assert not looks_like_instances(check(manifest, make_job(task_mask="any", task_classes=["a"], **classes)))
    report = check(manifest, make_job(task_classes=["a"], **classes))
    assert "[task] name = 'instances' finds each one" in (report.errors[0].remedy or "")


def test_structures_are_not_taken_for_instances(tmp_path: Path) -> None:
    both = np.zeros((24, 24), np.uint8)
    both[2:9, 2:9], both[12:20, 5:9] = 1, 2
    assert not looks_like_instances(check(write(tmp_path / "same", [both, both, both])))
    torn = [np.where(cells(9, seed), cells(9, seed) % 3 + 1, 0).astype(np.uint8) for seed in range(3)]
    assert not looks_like_instances(check(write(tmp_path / "torn", [*torn, both])))
    assert not looks_like_instances(check(write(tmp_path / "binary", [(both > 0).astype(np.uint8)] * 3)))


def test_many_instances_are_no_image(tmp_path: Path) -> None:
    many = np.kron(np.arange(1, 401, dtype=np.uint16).reshape(20, 20), np.ones((3, 3), np.uint16))
    path = write(tmp_path, [many])
    Image.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / "0.png")
    assert check(path).masks["400"] == 1


@pytest.mark.parametrize("root", ["", "stage1_train"])
def test_a_folder_for_each_image_with_a_mask_for_each_cell(tmp_path: Path, root: str) -> None:
    """As the Data Science Bowl 2018 has them."""
    top = tmp_path / root
    for case, count in (("a1", 3), ("b2", 1), ("c3", 6)):
        for kind in ("images", "masks"):
            (top / case / kind).mkdir(parents=True)
        Image.fromarray(np.zeros((24, 24), np.uint8)).save(top / case / f"images/{case}.png")
        for number in range(1, count + 1):
            mask = (cells(6) == number) * np.uint8(255)
            Image.fromarray(mask).save(top / case / f"masks/{number:032x}.png")
    written = write_manifest(top, None)
    assert written.kind == "a folder for each image, with a mask for each object"
    rows = rows_of(top / "manifest.csv")
    assert [row["patient"] for row in rows] == ["a1", "b2", "c3"]
    assert [row["mask"] for row in rows] == ["a1/masks", "b2/masks", "c3/masks"]
    assert [found.max() for found in numbers_in(top / "manifest.csv", job())] == [3, 1, 6]


def test_images_beside_a_folder_of_masks_for_each(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("x", "y"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((24, 24), np.uint8)).save(tmp_path / f"images/{name}.png")
        for number in (1, 2):
            mask = (cells(2) == number) * np.uint8(255)
            Image.fromarray(mask).save(tmp_path / f"masks/{name}/{number}.png")
    assert write_manifest(tmp_path, None).kind == "images and a folder of masks for each"
    assert [row["mask"] for row in rows_of(tmp_path / "manifest.csv")] == ["masks/x", "masks/y"]
    assert [found.max() for found in numbers_in(tmp_path / "manifest.csv", job())] == [2, 2]


def test_a_suggested_job_sees_cells_at_their_own_size(tmp_path: Path) -> None:
    large = np.zeros((200, 300), np.uint16)
    large[20:30, 40:52], large[100:113, 200:210] = 1, 2
    manifest = write(tmp_path, [large, large])
    for number in range(2):
        Image.fromarray(np.zeros((200, 300), np.uint8)).save(tmp_path / f"{number}.png")
    out = write_job_of(manifest, "cells", "instances", tmp_path / "cells.toml")
    spec = load_job(out)
    assert spec.data.patch == [128, 128]
    assert spec.data.size is None
    assert spec.task.name == "instances"
