"""A site's data, from the manifest to the batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from client.data.cache.settings import CacheTable
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from shared.errors import DataError
from shared.job.schema import JobSpec
from tests.client.data.manifests import rewrite
from tests.jobs import make_job
from tests.work import Operators, calls_of

SITES = ("north", "south")

SPLIT = Split(CohortKey.drawn(0))


def job_of(task: str = "segmentation", **options: Any) -> JobSpec:
    if task == "classification":
        options["task_classes"] = ["no", "yes"]
    return make_job(**{"task_name": task, "data_intensity": "none", "data_augment": None} | options)


def save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixteen patients with two images each, at two sites; patient 15 tests, 14 validates."""
    rows = ["patient,image,mask,label,site,split"]
    for number in range(32):
        patient = number // 2
        image = np.full((16, 16), number, np.uint8)
        mask = np.zeros((16, 16), np.uint8)
        mask[: patient + 1, 0] = 255
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "masks" / f"{number}.png", mask)
        split = {15: "test", 14: "val"}.get(patient, "train")
        label = "yes" if number % 4 == 0 else "no"
        rows.append(f"p{patient},images/{number}.png,masks/{number}.png,{label},{SITES[patient % 2]},{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


def test_segmentation(folder: Path) -> None:
    data = SiteData.load(folder, job_of(), site="all", split=SPLIT)
    assert data.patients == {"train": 14, "val": 1, "test": 1}
    assert data.examples == {"train": 28, "val": 2, "test": 2}
    train = data.split("train")
    assert train is data.split("train")
    batch = train.batch([3, 0])
    assert batch["image"].shape == (2, 1, 16, 16)
    assert batch["image"][:, 0, 0, 0].tolist() == [3, 0]
    assert batch["mask"].dtype == torch.uint8
    assert batch["mask"].sum(dim=(1, 2)).tolist() == [2, 1]
    assert batch.patients == ["p1", "p0"]
    foreground = 2 * sum(range(1, 15))
    assert data.class_counts().tolist() == [28 * 256 - foreground, foreground]


def test_classification(folder: Path) -> None:
    data = SiteData.load(folder, job_of("classification"), site="all", split=SPLIT)
    assert data.class_counts().tolist() == [21, 7]
    targets = data.split("train").batch(range(5))["label"]
    assert targets.tolist() == [1, 0, 0, 0, 1]
    assert targets.dtype == torch.int64


def test_several_labels(folder: Path) -> None:
    rewrite(folder, "no,north", ",north")
    rewrite(folder, "yes,north", "yes|no,north")
    data = SiteData.load(folder, job_of("classification", task_multi_label=True), site="all", split=SPLIT)
    targets = data.split("train").batch([0, 1, 4])["label"]
    assert targets.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert targets.dtype == torch.float32


def test_one_site_of_a_manifest(folder: Path) -> None:
    data = SiteData.load(folder, job_of(), site="a", split=SPLIT, column_value="south")
    assert set(data.split("train").patients) == {f"p{number}" for number in range(1, 15, 2)}
    with pytest.raises(DataError, match="did you mean 'south'"):
        SiteData.load(folder, job_of(), site="a", split=SPLIT, column_value="soth")


def test_a_site_without_training_data_says_so_by_its_counts(folder: Path) -> None:
    """Whether it is left out or an error is the federation's to decide: the job has `min_patients`."""
    text = (folder / "manifest.csv").read_text().replace("north,train", "north,test")
    (folder / "manifest.csv").write_text(text)
    data = SiteData.load(folder, job_of(), site="north", split=SPLIT, column_value="north")
    assert data.patients["train"] == data.examples["train"] == 0
    assert data.patients["test"] > 0


@pytest.mark.parametrize(
    ("old", "new", "task", "said"),
    [
        ("images/4.png", "images/x.png", "segmentation", ["row 6", "x.png", "missing"]),
        ("masks/4.png", "masks/x.png", "segmentation", ["row 6", "x.png", "missing"]),
        ("masks/4.png,yes", "masks/4.png,yse", "classification", ["row 6", "'yse'", "did you mean 'yes'"]),
        ("p2,images/4.png", "p14,images/4.png", "segmentation", ["p14", "row 6", "'train'", "'val'"]),
    ],
)
def test_bad_rows_are_refused_at_once(folder: Path, old: str, new: str, task: str, said: list[str]) -> None:
    rewrite(folder, old, new)
    with pytest.raises(DataError) as caught:
        SiteData.load(folder, job_of(task), site="a", split=SPLIT)
    for part in said:
        assert part in str(caught.value)


def test_unused_masks_may_be_missing(folder: Path) -> None:
    rewrite(folder, "masks/4.png", "masks/x.png")
    assert len(SiteData.load(folder, job_of("classification"), site="a", split=SPLIT).split("train")) == 28


def test_bad_files_are_named_with_their_row(folder: Path) -> None:
    data = SiteData.load(folder, job_of(), site="a", split=SPLIT)
    save(folder / "masks" / "4.png", np.zeros((16, 12), np.uint8))
    with pytest.raises(DataError, match=r"row 6: .*4.png: is 16x12, but images/4.png is 16x16"):
        data.split("train")
    (folder / "images" / "4.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"row 6: .*4.png: can't be read"):
        data.split("train")


class Darker:
    digest = "darker"

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, image: NDArray[np.float32], key: str) -> NDArray[np.float32]:
        self.keys.append(key)
        return image - 1


def test_the_disk_cache_spares_the_work_and_notices_changes(folder: Path, tmp_path: Path) -> None:
    def load(image_filter: Darker | None = None) -> SiteData:
        return SiteData.load(
            folder,
            job_of(),
            site="a",
            split=SPLIT,
            cache=CacheTable(folder=tmp_path / "c"),
            image_filter=image_filter,
        )

    plain = load().split("val").batch([0, 1])["image"]
    first, second = Darker(), Darker()
    darker = load(first).split("val").batch([0, 1])["image"]
    assert torch.equal(darker, plain - 1)
    assert len(set(first.keys)) == 2
    assert torch.equal(load(second).split("val").batch([0, 1])["image"], darker)
    assert not second.keys
    save(folder / "images" / "28.png", np.full((16, 16), 99, np.uint8))
    for path in (tmp_path / "c").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    again = load(second).split("val").batch([0, 1])["image"]
    assert again[:, 0, 0, 0].tolist() == [98, 28]


def test_augmentation_depends_on_the_seed_and_the_sample_alone(folder: Path) -> None:
    job = job_of(data_augment=["flip", "noise", "rotate"], data_intensity="minmax")
    train = SiteData.load(folder, job, site="a", split=SPLIT).split("train")
    one = train.batch([5, 9], augment_seed=1)
    other = train.batch([9, 2, 5], augment_seed=1)
    assert torch.equal(one["image"], other["image"][[2, 0]])
    assert torch.equal(one["mask"], other["mask"][[2, 0]])
    assert not torch.equal(one["mask"], train.batch([5, 9], augment_seed=4)["mask"])


def test_images_of_several_sizes_are_cropped_to_train_and_whole_to_infer(folder: Path) -> None:
    for name in ("images/0.png", "masks/0.png"):
        save(folder / name, np.zeros((24, 20), np.uint8))
    train = SiteData.load(folder, job_of(data_size=None, data_patch=[8, 8]), site="a", split=SPLIT).split(
        "train"
    )
    assert train.batch(range(4), augment_seed=1)["image"].shape == (4, 1, 8, 8)
    with pytest.raises(ValueError, match="several shapes"):
        train.batch(range(4))
    groups = list(train.batches(10))
    assert [len(group) for group in groups] == [1, 10, 10, 7]
    assert [index for group in groups for index in group] == list(range(28))
    assert train.batch(groups[0])["image"].shape == (1, 1, 24, 20)


def test_the_brain_pack(data_pack: Callable[[str], Path]) -> None:
    job = job_of(
        data_channels=3,
        data_size=[128, 128],
        data_intensity="zscore",
        data_augment=["flip", "rotate90", "intensity"],
    )
    data = SiteData.load(
        data_pack("brain_lgg_5sites_2d"), job, site="fg", split=SPLIT, column_value="case_western_FG"
    )
    assert sum(data.examples.values()) == 140
    assert data.patients["test"] == 3
    train = data.split("train")
    numbers = 16 * (3 + 1) * 128 * 128  # images and masks
    for seed, calls, passes in ((None, 5, 1.1), (1, 200, 9)):  # of a sample, in memory: never read again
        train.batch(range(16), augment_seed=seed)
        with Operators() as operators:
            train.batch(range(16), augment_seed=seed)
        assert operators.numbers < passes * numbers
        assert calls_of(lambda seed=seed: train.batch(range(16), augment_seed=seed)) < calls * 16


def test_the_hippocampus_pack(data_pack: Callable[[str], Path]) -> None:
    job = job_of(
        task_classes=["anterior", "posterior"], data_dimensions=3, data_size=None, data_patch=[24, 32, 24]
    )
    pack = data_pack("hippocampus_nifti")
    data = SiteData.load(pack, job, site="1", split=SPLIT, column_value="sim_site_1")
    test = data.split("test")
    batch = test.batch([0])
    assert batch.spacing == (1.0, 1.0, 1.0)
    assert batch["image"].shape[2:] == batch["mask"].shape[1:]
    assert set(batch["mask"].unique().tolist()) == {0, 1, 2}
