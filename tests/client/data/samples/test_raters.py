"""A manifest with the masks of several raters, of whom some have not seen each image."""

import csv
from pathlib import Path

import pytest

from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from shared.errors import DataError
from tests.conftest import write_dataset
from tests.jobs import make_job

SPLIT = Split(CohortKey.drawn(0))
JOB = make_job(task_masks=["mask", "second"])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return three patients of whom a second rater has seen every other image."""
    path = write_dataset(tmp_path / "data", ("alpha",), patients=3)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "second"])
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow(row | {"second": "" if number % 2 else rows[0]["mask"]})
    return path


def test_who_has_not_seen_an_image_says_nothing_of_it(manifest: Path) -> None:
    data = SiteData.load(manifest, JOB, site="alpha", split=SPLIT)
    assert data.examples == {"train": 2, "val": 2, "test": 2}
    batch = data.split("train").batch([0, 1])
    assert batch["mask"].max() == 1
    assert (batch["rater second"][0] == batch["mask"][0]).all()
    assert (batch["rater second"][1] == 255).all()
    moved = data.split("train").batch([0, 1], augment_seed=3)
    assert (moved["rater second"][0] == moved["mask"][0]).all()
    report = check_dataset(manifest, Expected.of(JOB), split=SPLIT)
    assert report.trainable
    assert not report.unlabelled.total()
    assert report.tallies["rater second"].missing == {"second": 3}


def test_the_first_rater_has_seen_every_image(manifest: Path) -> None:
    job = make_job(task_masks=["second", "mask"])
    with pytest.raises(DataError, match="the second is empty"):
        SiteData.load(manifest, job, site="alpha", split=SPLIT).split("train")
