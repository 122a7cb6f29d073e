"""`wardround job new --plan`: spacing, patch, depth and batch by nnU-Net's rules."""

import math
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from client.data.check.dataset_check import Report
from client.data.planned_job import patch_of, planned, target_spacing
from shared.job.schema import load_job
from tests.cli import wardround
from tests.client.data.test_suggested_job import masked
from tests.jobs import make_job


def report(size: str, spacing: str, count: int = 100) -> Report:
    return Report(Path("m"), sizes=Counter({size: count}), spacings=Counter({spacing: count}))


@given(st.lists(st.integers(8, 400), min_size=2, max_size=3), st.sampled_from([64**2, 64**3, 128**3]))
def test_a_patch_fits_the_budget_the_image_and_the_network(shape: list[int], most: int) -> None:
    halvings, patch = patch_of(shape, most)
    assert math.prod(patch) <= max(most, 8 ** len(shape))
    assert all(length <= max(own, 8) for length, own in zip(patch, shape, strict=True))
    assert all(length % 2**halvings == 0 and length // 2**halvings >= 2 for length in patch)


def test_a_coarse_axis_is_not_blurred_further() -> None:
    """Isensee et al. 2021: of an axis three times as coarse the tenth percentile of the spacings counts."""
    thick = [[0.5, 0.5, length] for length in (2.0, *[5.0] * 9, 6.0)]
    assert target_spacing(thick, [512, 512, 30]) == [0.5, 0.5, 5.0]
    assert target_spacing([*thick[:1], *thick[:10]], [512, 512, 30]) == [0.5, 0.5, 2.0]
    assert target_spacing(thick, [60, 60, 30]) == [0.5, 0.5, 5.0]  # few pixels across too: the median


def test_large_volumes_have_the_published_patch() -> None:
    tables = planned(report("200x200x200", "1 x 1 x 1 mm"), "gpu")
    assert tables["data"]["patch"] == [128, 128, 128]
    assert tables["data"]["spacing"] == [1.0, 1.0, 1.0]
    assert tables["model"]["channels"] == [32, 64, 128, 256, 320, 320]
    assert tables["training"]["batch_size"] == 2
    job = make_job(task_classes=["a"], training_local_epochs=1, **_options(tables))
    assert job.data.patch == [128, 128, 128]


def test_few_small_pictures_have_small_batches() -> None:
    few = planned(report("128x128", "unknown", 20), "cpu")
    assert "spacing" not in few["data"]
    assert few["training"]["batch_size"] == 2
    assert planned(report("128x128", "unknown", 1000), "cpu")["training"]["batch_size"] == 8


def _options(tables: dict[str, dict[str, object]]) -> dict[str, object]:
    keys = [(table, key) for table, own in tables.items() if table != "model" for key in own]
    return {**{f"{table}_{key}": tables[table][key] for table, key in keys}, "model": tables["model"]}


def test_a_planned_job_is_plain_keys_of_a_file(tmp_path: Path) -> None:
    data = masked(tmp_path / "data", 1, shape=(96, 64))
    command = ["job", "new", "mine", "--data", data, "--plan", "cpu"]
    assert wardround(*command, "--task", "segmentation", cwd=tmp_path).returncode == 0
    job = load_job(tmp_path / "mine.toml")
    assert job.data.size is None
    assert job.data.patch == [96, 64]
    assert job.model.in_words == "dynunet"
    assert job.training.batch_size == 2
    refused = wardround(*command, "--task", "detection", "--out", "other.toml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--plan: is for segmentation, not for detection" in refused.stderr
    assert not (tmp_path / "other.toml").exists()
