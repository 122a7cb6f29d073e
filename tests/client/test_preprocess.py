"""Resampling, intensities and the cache."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.data.augment import AUGMENTATIONS, augment, crop
from client.data.cache import DiskCache, content_hash
from client.data.preprocess import Prepared, intensity, resize_image, resize_mask, transform_digest
from client.data.readers import Picture, target_shape
from shared.errors import DataError
from shared.job import DataTable, JobSpec
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


def test_the_digest_changes_with_what_changes_the_result_and_with_nothing_else() -> None:
    digests = {
        transform_digest(job(**keys))
        for keys in ({}, {"intensity": "minmax"}, {"size": [9, 9]}, {"channels": 3})
    }
    assert len(digests) == 4
    assert transform_digest(job(augment=["flip"], fold=1)) == transform_digest(job())


@pytest.fixture
def sample() -> Prepared:
    image = RNG.normal(size=(2, 8, 8)).astype(np.float32)
    return Prepared(image, RNG.integers(0, 2, (8, 8), dtype=np.uint8), (1.0, 0.1))


def test_the_cache_gives_back_what_was_put_in(tmp_path: Path, sample: Prepared) -> None:
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("ab") is None
    cache.put("ab", sample)
    found = cache.get("ab")
    assert found is not None
    np.testing.assert_array_equal(found.image, sample.image)
    np.testing.assert_array_equal(found.mask, sample.mask)
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


@pytest.mark.parametrize("shape", [(12, 12), (10, 14), (8, 8, 6)])
@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_augmentation_is_seeded_and_keeps_image_and_mask_together(name: str, shape: tuple[int, ...]) -> None:
    mask = torch.zeros(shape, dtype=torch.uint8)
    mask[1:5, 4:7] = 1
    image = mask[None].float() + torch.linspace(0, 0.2, mask.numel()).reshape(1, *shape)
    changed = 0
    for seed in range(8):
        (first, labels), (again, _) = (augment((image, mask), [name], None, seed) for _ in range(2))
        assert torch.equal(first, again)
        assert labels is not None
        assert first.shape == image.shape
        assert labels.dtype == torch.uint8
        changed += not torch.equal(first, image)
        middle = (first.max() + first.min()) / 2
        assert ((first[0] > middle) != (labels == 1)).float().mean() < 0.1
    assert changed


def test_half_of_the_crops_lie_on_the_foreground() -> None:
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[60:62, 3:5] = 1
    rng = np.random.default_rng(0)
    crops = [crop((mask[None].float(), mask), (8, 8), rng) for _ in range(200)]
    assert all(image.shape == (1, 8, 8) and torch.equal(image[0], labels) for image, labels in crops)
    assert 80 < sum(bool(labels.any()) for _, labels in crops) < 130


def test_a_small_image_is_padded_to_the_patch() -> None:
    image, mask = crop((torch.ones(1, 3, 10), torch.ones(3, 10)), (8, 6), np.random.default_rng(0))
    assert image.shape == (1, 8, 6)
    assert image.sum() == mask.sum() == 18
