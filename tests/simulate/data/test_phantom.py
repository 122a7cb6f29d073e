import csv
import hashlib
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from shared.errors import DataError
from simulate.data.patients import SCANNERS
from simulate.data.phantom import PHANTOMS, make_phantom

MAKE = """
import sys
from pathlib import Path
from simulate.data.phantom import make_phantom
make_phantom(sys.argv[1], Path(sys.argv[2]), 1)
"""
DIE_IN_THE_MIDDLE = """
import os, signal, sys
opened = []
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".png"):
        opened.append(arguments[0])
        if len(opened) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def bytes_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("phantoms")
    return {name: make_phantom(name, folder, 1) for name in PHANTOMS}


@pytest.mark.parametrize("name", PHANTOMS)
def test_every_hospital_has_patients_to_train_and_to_test_on(made: dict[str, Path], name: str) -> None:
    rows = rows_of(made[name])
    sides: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        sides.setdefault(row["patient"], set()).add((row["site"], row["split"]))
        assert not row.get("image") or (made[name].parent / row["image"]).is_file()
    assert all(len(side) == 1 for side in sides.values())
    patients = Counter(side for (side,) in sides.values())
    sites = {row["site"] for row in rows}
    assert len(sites) >= 3
    assert all(patients[site, split] for site in sites for split in ("train", "test"))
    assert len(set(Counter(site for site, _ in patients.elements()).values())) == len(sites)


def test_brain_slices_have_tumours_in_some(made: dict[str, Path]) -> None:
    manifest = made["phantom-brain"]
    masks = []
    for row in rows_of(manifest):
        image = np.asarray(Image.open(manifest.parent / row["image"]))
        mask = np.asarray(Image.open(manifest.parent / row["mask"]))
        assert image.shape == mask.shape == (96, 96)
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        masks.append((row, image, mask > 0))
    with_tumour = sum(mask.any() for *_, mask in masks) / len(masks)
    assert 0.3 < with_tumour < 0.8
    ever: dict[str, bool] = {}
    for row, _, mask in masks:
        ever[row["patient"]] = ever.get(row["patient"], False) or bool(mask.any())
    assert not all(ever.values())


def test_a_threshold_does_not_find_the_tumours(made: dict[str, Path]) -> None:
    manifest = made["phantom-brain"]
    pairs = [
        [np.asarray(Image.open(manifest.parent / row[column])) for column in ("image", "mask")]
        for row in rows_of(manifest)
    ]
    images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    best = 0.0
    for threshold in np.linspace(20, 240, 23):
        found = images > threshold
        best = max(best, 2 * (found & (masks > 0)).sum() / (found.sum() + (masks > 0).sum()))
    assert best < 0.5  # a small U-Net reaches 0.85


def test_the_scanners_of_the_hospitals_leave_their_mark(made: dict[str, Path]) -> None:
    manifest = made["phantom-brain"]
    brightness: dict[str, list[float]] = {site: [] for site in SCANNERS}
    for row in rows_of(manifest):
        brightness[row["site"]].append(
            float(np.median(np.asarray(Image.open(manifest.parent / row["image"]))[36:60, 36:60]))
        )
    means = sorted(np.mean(values) for values in brightness.values())
    assert means[-1] > 1.5 * means[0]


def test_volumes_have_a_spacing_and_two_structures(made: dict[str, Path]) -> None:
    manifest = made["phantom-brain-3d"]
    for row in rows_of(manifest):
        image, mask = (nibabel.load(manifest.parent / row[column]) for column in ("image", "mask"))
        assert image.shape == mask.shape == (32, 40, 32)
        assert image.header.get_zooms() == mask.header.get_zooms() == (5.0, 5.0, 6.0)
        assert np.array_equal(image.affine, mask.affine)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1, 2}


def test_kinds_of_lesions_are_uneven_across_hospitals(made: dict[str, Path]) -> None:
    rows = rows_of(made["phantom-lesions"])
    kinds: dict[str, Counter[str]] = {}
    for row in rows:
        kinds.setdefault(row["site"], Counter())[row["label"]] += 1
        assert Image.open(made["phantom-lesions"].parent / row["image"]).size == (64, 64)
    assert all(len(counts) == 3 for counts in kinds.values())
    assert len({counts.most_common(1)[0][0] for counts in kinds.values()}) == 3
    assert Image.open(made["phantom-lesions"].parent / rows[0]["image"]).mode == "RGB"


@pytest.mark.parametrize("name", PHANTOMS)
def test_the_same_seed_gives_the_same_bytes(made: dict[str, Path], name: str, tmp_path: Path) -> None:
    assert bytes_of(make_phantom(name, tmp_path, 1).parent) == bytes_of(made[name].parent)


def test_another_seed_gives_other_patients_beside_the_first(made: dict[str, Path]) -> None:
    first = made["phantom-brain-3d"].parent
    other = make_phantom("phantom-brain-3d", first.parent, 2).parent
    assert other != first
    ours, theirs = bytes_of(first), bytes_of(other)
    assert ours.keys() == theirs.keys()
    assert not {ours[file] for file in ours if "images" in file} & set(theirs.values())


def test_what_is_there_is_used_again(made: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in made["phantom-lesions"].parent.rglob("*")}
    assert make_phantom("phantom-lesions", made["phantom-lesions"].parents[1], 1) == made["phantom-lesions"]
    assert before == {path: path.stat().st_mtime_ns for path in made["phantom-lesions"].parent.rglob("*")}


@pytest.mark.slow
def test_killed_in_the_middle_leaves_nothing_that_is_taken_for_complete(
    made: dict[str, Path], tmp_path: Path
) -> None:
    die = (sys.executable, "-c", DIE_IN_THE_MIDDLE + MAKE, "phantom-lesions", str(tmp_path))
    assert subprocess.run(die, check=False).returncode == -signal.SIGKILL
    assert len([*tmp_path.rglob("*.png")]) > 10
    assert not any(path.name.startswith("phantom-") for path in tmp_path.iterdir())
    assert bytes_of(make_phantom("phantom-lesions", tmp_path, 1).parent) == bytes_of(
        made["phantom-lesions"].parent
    )


@pytest.mark.slow
def test_two_processes_at_once_end_with_one_whole_dataset(made: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, "phantom-brain-3d", str(tmp_path)]
    children = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    (only,) = tmp_path.iterdir()
    assert bytes_of(only) == bytes_of(made["phantom-brain-3d"].parent)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'phantom-brain'"):
        make_phantom("phantom-brian", tmp_path, 1)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file") as raised:
        make_phantom("phantom-brain", tmp_path / "file", 1)
    assert raised.value.remedy


def test_a_dataset_that_lost_its_manifest_is_not_used(tmp_path: Path) -> None:
    make_phantom("phantom-brain-3d", tmp_path, 1).unlink()
    with pytest.raises(DataError, match="can't be written"):
        make_phantom("phantom-brain-3d", tmp_path, 1)


@pytest.mark.parametrize("name", ["phantom-pairs", "phantom-turned", "phantom-pairs-3d"])
def test_landmarks_of_pairs_are_at_the_same_places_of_the_head(made: dict[str, Path], name: str) -> None:
    """What one image has at a landmark the other has where it should be, but for the scanner."""
    manifest, differences, beside = made[name], [], []
    for row in rows_of(manifest)[:12]:
        arrays = []
        for column in ("image", "moving"):
            path = manifest.parent / row[column]
            volume = name.endswith("3d")
            arrays.append(np.asarray(nibabel.load(path).dataobj if volume else Image.open(path), float))
        if not name.endswith("3d"):
            arrays = [array.T for array in arrays]  # x before y
        fixed, moving = (np.array(json.loads(row[column])) for column in ("points", "moving_points"))
        assert len(fixed) == len(moving) > 4
        seen = [
            ndimage.map_coordinates(array, places.T, order=1)
            for array, places in zip(arrays, (fixed, moving), strict=True)
        ]
        differences.append(np.abs(seen[0] - seen[1]).mean())
        beside.append(np.abs(seen[0] - ndimage.map_coordinates(arrays[1], fixed.T, order=1)).mean())
    assert np.mean(differences) < 0.6 * np.mean(beside)


def test_raters_draw_the_same_tumour_small_and_large(made: dict[str, Path]) -> None:
    manifest = made["phantom-raters"]
    found = rows_of(manifest)
    sizes: dict[str, list[float]] = {name: [] for name in ("rater1", "rater2", "rater3")}
    for cells in found:
        assert cells["rater1"]
        true = np.asarray(Image.open(manifest.parent / cells["truth"])) > 0
        for name, own in sizes.items():
            if cells[name] and true.any():
                own.append((np.asarray(Image.open(manifest.parent / cells[name])) > 0).sum() / true.sum())
    medians = [float(np.median(sizes[name])) for name in ("rater1", "rater3", "rater2")]
    assert medians == sorted(medians)
    assert medians[0] < 0.95
    assert medians[1] > 1.05
    assert 0.6 < sum(bool(cells["rater2"]) for cells in found) / len(found) < 0.9
