"""Resampling, intensities and the cache."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.cache.cache import DiskCache
from client.data.cache.prepared import Prepared
from client.data.cache.preprocess import preparation_digest
from client.data.images.file_hash import content_hash
from client.data.images.intensity import intensity, scale_of
from client.data.images.network_grid import Grid
from client.data.images.readers import Picture
from client.data.images.resize import resize_image, resize_mask
from client.data.images.target_shape import target_shape
from client.data.kinds import kinds_of
from shared.errors import DataError
from shared.job.data_options import DataTable
from shared.job.schema import JobSpec
from tests.jobs import make_job

RNG = np.random.default_rng(0)


def job(**data: Any) -> JobSpec:
    options = {"data_size": [8, 8], "data_augment": None}
    return make_job(**options | {f"data_{key}": value for key, value in data.items()})


def table(**data: Any) -> DataTable:
    return job(**data).data


@pytest.mark.parametrize("kind", ["zscore", "minmax", "percentile", "window"])
def test_intensities(kind: str) -> None:
    image = RNG.normal(40, 300, (2, 32, 32)).astype(np.float32)
    image[1] *= 5
    out = intensity(image, table(intensity=kind, **({"window": [0, 80]} if kind == "window" else {})))
    assert out.dtype == np.float32
    for channel in out:
        if kind == "zscore":
            assert abs(channel.mean()) < 1e-5
            assert channel.std() == pytest.approx(1, abs=1e-5)
        else:
            assert (channel.min(), channel.max()) == (0, 1)
    if kind == "window":
        np.testing.assert_allclose(out, np.clip(image / 80, 0, 1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["zscore", "minmax", "percentile", "window", "none"])
def test_values_come_back_in_the_units_of_the_file(kind: str) -> None:
    image = RNG.normal(40, 300, (2, 16, 16)).astype(np.float32)
    tissue = image[0] > -200
    for inside in (None, tissue):
        data = table(intensity=kind, **({"window": [-60, 80]} if kind == "window" else {}))
        low, width = scale_of(image, data, inside).T[..., None, None]
        back, counted = low + width * intensity(image, data, inside), np.ones_like(image, bool)
        if inside is not None:
            counted &= inside
        if kind in ("percentile", "window"):
            counted &= (image > low) & (image < low + width)
        np.testing.assert_allclose(back[counted], image[counted], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", ["zscore", "minmax", "percentile"])
def test_a_constant_channel_becomes_zero(kind: str) -> None:
    assert not intensity(np.full((1, 4, 4), 7, np.float32), table(intensity=kind)).any()


def test_shrinking_averages_and_masks_keep_their_values() -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2
    small = resize_image(checkers[None].astype(np.float32), (16, 16))
    assert abs(small - 0.5).max() < 0.1
    volume = resize_image(RNG.normal(size=(1, 32, 32, 32)).astype(np.float32), (8, 8, 8))
    assert volume.shape == (1, 8, 8, 8)
    assert volume.std() < 0.3
    mask = (checkers * 2).astype(np.uint8)
    assert set(np.unique(resize_mask(mask, (20, 31)))) <= {0, 2}


def test_resampling_to_a_spacing() -> None:
    data = table(size=None, patch=[8, 8], spacing=[1.0, 2.0])
    picture = Picture(np.zeros((1, 10, 20), np.float32), (0.5, 1.0))
    assert target_shape(picture, data, Path("a")) == (5, 10)
    with pytest.raises(DataError, match="says no spacing"):
        target_shape(Picture(picture.array, None), data, Path("a.png"))


def test_an_image_that_keeps_its_scale_is_padded_or_refused() -> None:
    data = table(size=[8, 12], spacing=[1.0, 2.0], resize="keep")
    picture = Picture(np.zeros((1, 10, 20), np.float32), (0.5, 1.0))
    grid = Grid.of(picture, data, Path("a"))
    assert (grid.inner, grid.outer, grid.spacing) == ((5, 10), (8, 12), (1.0, 2.0))
    with pytest.raises(DataError, match="has 5x13 pixels at the job's scale"):
        Grid.of(Picture(np.zeros((1, 10, 26), np.float32), (0.5, 1.0)), data, Path("a"))
    assert Grid.of(picture, table(size=[12, 30], resize="keep"), Path("a")).inner == (10, 20)


def digest_of(**data: object) -> str:
    made = job(**data)
    return preparation_digest(kinds_of(made), made.data)


def test_the_digest_changes_with_what_changes_the_result_and_with_nothing_else() -> None:
    digests = {digest_of(**keys) for keys in ({}, {"intensity": "minmax"}, {"size": [9, 9]}, {"channels": 3})}
    assert len(digests) == 4
    assert digest_of(augment=["flip"], fold=1) == digest_of()


@pytest.fixture
def sample() -> Prepared:
    image = RNG.normal(size=(2, 8, 8)).astype(np.float32)
    return Prepared({"image": image, "mask": RNG.integers(0, 2, (8, 8), dtype=np.uint8)}, (1.0, 0.1))


def test_the_cache_gives_back_what_was_put_in(tmp_path: Path, sample: Prepared) -> None:
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("ab") is None
    cache.put("ab", sample)
    found = cache.get("ab")
    assert found is not None
    np.testing.assert_equal(found.values, sample.values)
    assert found.spacing == sample.spacing


def test_a_damaged_cache_file_counts_as_none(tmp_path: Path, sample: Prepared) -> None:
    cache = DiskCache(tmp_path)
    cache.put("ab", sample)
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        path.write_bytes(damaged)
        assert cache.get("ab") is None


def test_writers_at_once_leave_one_whole_file(tmp_path: Path, sample: Prepared) -> None:
    cache = DiskCache(tmp_path)
    threads = [threading.Thread(target=cache.put, args=("ab", sample)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    assert cache.get("ab") is not None


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, sample: Prepared) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cache can't be written"):
        DiskCache(tmp_path / "file").put("ab", sample)


def test_a_folders_content_does_not_depend_on_names(tmp_path: Path) -> None:
    for folder, names in (("a", "12"), ("b", "34")):
        (tmp_path / folder).mkdir()
        for name, text in zip(names, "xy", strict=True):
            (tmp_path / folder / name).write_text(text)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
