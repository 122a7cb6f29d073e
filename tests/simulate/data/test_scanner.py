import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulate.data.scanner import Scanner, _sensitivity

SHAPES = [(1, 40, 30), (3, 24, 24), (1, 20, 16, 12), (2, 9, 8, 3)]


ROOT = Path(__file__).parents[3]


def fingerprint() -> str:
    scanner = Scanner.draw("a", 1)
    return scanner.digest + hashlib.sha256(scanner(picture((1, 20, 15), 0, 1), "key").tobytes()).hexdigest()


def picture(shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 4095), (-1024, 3071), (-3, 3)])
def test_shape_and_range_of_the_image_are_kept(shape: tuple[int, ...], low: float, high: float) -> None:
    image = picture(shape, low, high)
    scanned = Scanner.draw("a", 1)(image, "key")
    assert scanned.shape == shape
    assert scanned.dtype == np.float32
    slack = 1e-5 * (high - low)
    assert image.min() - slack <= scanned.min() < scanned.max() <= image.max() + slack
    assert scanned.max() - scanned.min() > 0.3 * (high - low)


@settings(max_examples=30, deadline=None)
@given(site=st.text(max_size=20), seed=st.integers(0, 2**63), shape=st.sampled_from(SHAPES), key=st.text())
def test_the_same_scanner_and_key_give_the_same_image(
    site: str, seed: int, shape: tuple[int, ...], key: str
) -> None:
    image = picture(shape, 0, 1)
    before = image.copy()
    first, second = Scanner.draw(site, seed)(image, key), Scanner.draw(site, seed)(image, key)
    assert np.array_equal(first, second)
    assert np.isfinite(first).all()
    assert np.array_equal(image, before)


def test_noise_differs_from_image_to_image_and_the_bias_field_does_not() -> None:
    image = np.ones((1, 64, 64), np.float32)
    image[0, 0, 0] = 0
    noisy = Scanner(noise=0.05, seed=3)
    assert not np.array_equal(noisy(image, "a"), noisy(image, "b"))
    uneven = Scanner(bias=0.3, seed=3)
    assert np.array_equal(uneven(image, "a"), uneven(image, "b"))
    assert uneven(image, "a")[0, 1:, 1:].std() > 0.02
    other = dataclasses.replace(uneven, seed=4)
    assert not np.allclose(uneven(image, "a"), other(image, "a"), atol=0.02)


def test_a_scanner_without_faults_changes_nothing() -> None:
    image = picture((1, 30, 30), -1000, 1000)
    assert np.allclose(Scanner()(image, "key"), image, atol=1e-2)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2), st.floats(-1, 1))
def test_contrast_never_swaps_darker_and_brighter(gamma: float, curve: float) -> None:
    ramp = np.linspace(0, 1, 100, dtype=np.float32)[None, :, None] * np.ones((1, 1, 4), np.float32)
    seen = Scanner(gamma=gamma, curve=curve)(ramp, "key")
    assert (np.diff(seen[0, :, 0]) >= -1e-6).all()


def test_a_dark_background_gets_the_noise_of_a_magnitude_image() -> None:
    image = np.zeros((1, 200, 200), np.float32)
    image[0, :100] = 1
    scanned = Scanner(noise=0.05)(image, "key")
    assert scanned[0, 100:].mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.05)  # Rayleigh


@pytest.mark.parametrize("fault", [{"blur": 0.02}, {"resolution": 0.5}])
def test_blur_and_low_resolution_lose_detail(fault: dict[str, float]) -> None:
    board = np.indices((64, 64)).sum(axis=0)[None].astype(np.float32) % 2
    assert Scanner(**fault)(board, "key").std() < 0.5 * board.std()


def test_an_image_of_one_value_stays_finite() -> None:
    assert np.array_equal(
        Scanner.draw("a", 1)(np.full((1, 8, 8), 7, np.float32), "key"), np.full((1, 8, 8), 7)
    )


def test_digest_tells_scanners_apart() -> None:
    digests = {Scanner.draw(site, seed).digest for site in ("a", "b", "c") for seed in (1, 2)}
    assert len(digests) == 6
    assert Scanner.draw("a", 1).digest in digests


def test_another_process_draws_and_scans_the_same() -> None:
    code = "from tests.simulate.data.test_scanner import fingerprint; print(fingerprint())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=ROOT)
    assert other.stdout.strip() == fingerprint()


@pytest.mark.parametrize("shape", [(96, 96), (31, 64), (16, 12, 10)])
@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**63 - 1])
def test_the_coils_field_is_that_of_monai(seed: int, shape: tuple[int, ...]) -> None:
    from monai.transforms import RandBiasField

    field = RandBiasField(degree=3, coeff_range=(-0.2, 0.2), prob=1.0)
    field.set_random_state(seed=seed % 2**32)
    expected = np.asarray(field(np.ones((1, *shape), np.float32)), np.float32)
    assert np.array_equal(_sensitivity(seed, 0.2, shape), expected / expected.max())
