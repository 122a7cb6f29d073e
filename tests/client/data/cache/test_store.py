"""Samples larger than memory: kept on the disk, read as they are needed, with the same bits as in memory."""

import os
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import psutil
import pytest
import torch
from typer.testing import CliRunner

from client.cli.client import client_app
from client.data.cache import preparing
from client.data.cache.cache import DiskCache, MappedValue
from client.data.cache.prepared import Prepared
from client.data.cache.settings import CacheTable
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.batches import Samples
from client.data.samples.read_ahead import ahead
from client.data.samples.site_data import SiteData
from client.training.loop import LocalTraining
from shared.errors import DataError, SiteError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.tasks import make_task
from tests.jobs import job_text, make_job

SPLIT = Split(CohortKey.drawn(0))
TINY = 1e-6  # GiB: nothing fits into memory
COUNT = 6


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of some volumes with a bright block each, one of them without."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    rows = ["patient,image,mask,split"]
    for number in range(COUNT):
        image = rng.normal(size=(14, 12, 10)).astype(np.float32)
        mask = np.zeros(image.shape, np.uint8)
        if number:
            mask[number : number + 3, 2:6, 4:7] = 1
        for name, array in (("image", image + 3 * mask), ("mask", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}{number}.nii.gz")
        rows.append(f"p{number},image{number}.nii.gz,mask{number}.nii.gz,train")
    rows.append("p9,image0.nii.gz,mask0.nii.gz,val")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


def job_of(**options: Any) -> JobSpec:
    volumes = {
        "data_dimensions": 3,
        "data_size": None,
        "data_patch": [8, 8, 8],
        "data_augment": ["flip", "rotate90", "rotate", "zoom", "gamma", "intensity", "noise"],
    }
    return make_job(**volumes | options)


def load(data: Path, job: JobSpec | None = None, **cache: Any) -> Samples:
    table = CacheTable(**cache) if cache else None
    return SiteData.load(data, job or job_of(), site="a", split=SPLIT, cache=table).split("train")


def test_a_batch_has_the_same_bits_from_memory_and_from_the_disk(volumes: Path, tmp_path: Path) -> None:
    memory = load(volumes)
    kept = load(volumes, folder=tmp_path)
    mapped = load(volumes, folder=tmp_path, memory_gib=TINY)
    assert (memory.on_disk, kept.on_disk, mapped.on_disk) == (False, False, True)
    for seed in (None, 1, 2, 3):
        batches = [one.batch(range(COUNT), augment_seed=seed) for one in (memory, kept, mapped)]
        for name in ("image", "mask"):
            assert all(torch.equal(batches[0][name], batch[name]) for batch in batches)
        assert all(batches[0].spacing == batch.spacing for batch in batches)
    assert [list(one.batches(4)) for one in (memory, mapped)] == [[[0, 1, 2, 3], [4, 5]]] * 2


def test_training_from_the_disk_gives_the_same_model(volumes: Path, tmp_path: Path) -> None:
    vectors = []
    for cache in ({}, {"folder": tmp_path, "memory_gib": TINY}):
        job = job_of()
        task, model = make_task(job), build_model(job, seed=1)
        samples = load(volumes, job, **cache)
        LocalTraining(model, task, samples, job, site="a", device=torch.device("cpu")).run(1)
        vectors.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*vectors)


def test_counts_come_from_the_disk_too(volumes: Path, tmp_path: Path) -> None:
    cache = CacheTable(folder=tmp_path, memory_gib=TINY)
    counts = [
        SiteData.load(volumes, job_of(), site="a", split=SPLIT, cache=table).class_counts().tolist()
        for table in (None, cache)
    ]
    assert counts[0] == counts[1]


def test_several_processes_prepare_the_same_files(
    volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(volumes, folder=tmp_path / "one", processes=1)
    monkeypatch.setattr(preparing, "_WORTH_IT", 0)
    load(volumes, folder=tmp_path / "two", processes=2)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.safetensors")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == COUNT
    assert not [child for child in psutil.Process().children() if preparing.PROCESS in child.cmdline()]


def test_a_bad_file_is_named_whichever_process_met_it(
    volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in volumes.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / "image3.nii.gz").write_bytes(b"none")
    monkeypatch.setattr(preparing, "_WORTH_IT", 0)
    for processes in (1, 2):
        with pytest.raises(DataError, match=r"row 5: .*image3.nii.gz: is not a NIfTI file"):
            load(data, folder=tmp_path / "cache", processes=processes)


def test_what_was_prepared_before_a_stop_is_not_prepared_again(
    volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(volumes, folder=tmp_path)
    files = sorted(tmp_path.rglob("*.safetensors"))
    for path in files[:2]:  # as if it had been stopped before these
        path.unlink()
    prepared = []
    real = preparing.prepare
    monkeypatch.setattr(preparing, "prepare", lambda *args: prepared.append(1) or real(*args))
    load(volumes, folder=tmp_path)
    assert len(prepared) == 2
    assert sorted(tmp_path.rglob("*.safetensors")) == files


def test_jobs_with_the_same_preparation_share_it(volumes: Path, tmp_path: Path) -> None:
    load(volumes, folder=tmp_path)
    load(volumes, job_of(job_seed=9, data_augment=[], training_batch_size=1), folder=tmp_path)
    assert len(list(tmp_path.rglob("*.safetensors"))) == COUNT
    load(volumes, job_of(data_intensity="minmax"), folder=tmp_path)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2 * COUNT


def test_a_sample_that_was_cleared_while_in_use_is_prepared_again(volumes: Path, tmp_path: Path) -> None:
    mapped = load(volumes, folder=tmp_path, memory_gib=TINY)
    before = mapped.batch(range(COUNT), augment_seed=1)
    for path in tmp_path.rglob("*.safetensors"):
        path.unlink()
    again = mapped.batch(range(COUNT), augment_seed=1)
    assert torch.equal(before["image"], again["image"])


def sample(number: int) -> Prepared:
    return Prepared({"image": np.full((1, 100), number, np.float32)}, None)


def test_the_oldest_go_by_age_and_by_size(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    for number in range(5):
        key = str(number) * 4
        cache.put(key, sample(number))
        used = time.time() - (5 - number) * 24 * 3600
        os.utime(tmp_path / key[:2] / f"{key}.safetensors", (used, used))
    (tmp_path / "00" / ".x.part").touch()
    size = next(tmp_path.rglob("4444.safetensors")).stat().st_size
    assert cache.get("2222") is not None  # used now
    cache.clear(days=4, size=10**9)
    assert sorted(path.stem for path in tmp_path.rglob("*.safetensors")) == ["2222", "3333", "4444"]
    cache.clear(days=4, size=2 * size)
    assert sorted(path.stem for path in tmp_path.rglob("*.safetensors")) == ["2222", "4444"]
    assert (tmp_path / "00" / ".x.part").exists()  # somebody may be writing it
    os.utime(tmp_path / "00" / ".x.part", (0, 0))
    cache.clear(days=4, size=10**9)
    assert not list(tmp_path.rglob("*.part"))


def test_limits_that_hold_nothing_say_so(volumes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need more memory than") as caught:
        load(volumes, memory_gib=TINY)
    assert "[cache] folder" in str(caught.value)
    with pytest.raises(DataError, match=r"and \[cache\] disk_gib = 1e-06"):
        load(volumes, folder=tmp_path, disk_gib=TINY)


def test_a_window_of_a_stored_array_is_what_it_is_in_memory(tmp_path: Path) -> None:
    array = np.arange(2 * 6 * 5 * 4, dtype=np.float32).reshape(2, 6, 5, 4)
    cache = DiskCache(tmp_path)
    kept = cache.put("abcd", Prepared({"image": array}, None))
    value = cache.value(kept, "image", lambda: None)
    assert isinstance(value, MappedValue)
    windows: list[Any] = [(...,), (..., slice(1, 3)), (..., slice(2, 4), slice(0, 5), slice(3, 4))]
    for window in windows:
        np.testing.assert_array_equal(value[window].numpy(), array[window])


def test_batches_come_in_their_order_and_errors_at_their_turn() -> None:
    asked: list[int] = []

    def source() -> Any:
        for number in range(20):
            asked.append(number)
            yield number

    def load_one(number: int) -> int:
        if number == 15:
            raise ValueError("fifteen")
        return number * 10

    found = []

    def take() -> None:
        for value in ahead(load_one, source()):
            found.append(value)
            assert len(asked) <= len(found) + 4

    with pytest.raises(ValueError, match="fifteen"):
        take()
    assert found == [number * 10 for number in range(15)]


def test_a_site_prepares_before_the_job_asks(volumes: Path, tmp_path: Path) -> None:
    folder, job = tmp_path / "site", tmp_path / "job.toml"
    folder.mkdir()
    job.write_text(job_text(data_dimensions=3, data_size=None, data_patch=[8, 8, 8]))
    site = f'[site]\nname = "a"\n[datasets.discs]\nmanifest = "{volumes}"\n'
    (folder / "site.toml").write_text(site)
    asked = [str(job), "--dir", str(folder)]
    with pytest.raises(SiteError, match="names no folder"):
        CliRunner().invoke(client_app, ["prepare", *asked], catch_exceptions=False)
    (folder / "site.toml").write_text(site + '[cache]\nfolder = "kept"\n')
    answer = CliRunner().invoke(client_app, ["prepare", *asked], catch_exceptions=False)
    assert "7 samples lie in" in answer.stdout
    assert len(list((folder / "kept").rglob("*.safetensors"))) == COUNT  # one image is in two rows
