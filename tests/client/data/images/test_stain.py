"""Stains: what two hospitals' dyes make of one tissue becomes alike, and glass stays glass."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.images.stain import Stain, restained, stains_of
from shared.errors import DataError

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def tissue(strength: tuple[float, float], turn: float = 0.0) -> NDArray[np.float32]:
    """Return one tissue (3, 64, 64) in stains of some strength and, a little, colour; a row is glass."""
    rng = np.random.default_rng(0)
    amounts = rng.gamma(2.0, 0.3, (2, 64, 64))
    first = HAEMATOXYLIN * strength[0]
    second = (EOSIN + turn * np.array([0.2, -0.1, 0.1])) * strength[1]
    density = first[:, None, None] * amounts[0] + second[:, None, None] * amounts[1]
    density[:, 0] = 0
    return (240 * np.exp(-density)).clip(0, 255).astype(np.float32)


@pytest.mark.parametrize("stain", get_args(Stain))
def test_one_tissue_in_two_stains_becomes_alike(stain: Stain) -> None:
    one, other = tissue((0.7, 1.2)), tissue((1.3, 0.7), turn=1.0)
    [first], [second] = restained([one], stain), restained([other], stain)
    before, after = (own[:, 1:] - its[:, 1:] for own, its in ((one, other), (first, second)))
    assert np.abs(after.mean(axis=(1, 2))).max() < np.abs(before.mean(axis=(1, 2))).max() / 3  # its colour
    if stain == "macenko":  # which knows how much of each stain is in a pixel
        assert np.abs(after).mean() < np.abs(before).mean() / 3
    assert first.dtype == np.float32
    assert (first >= 0).all()
    assert (first <= 255).all()
    np.testing.assert_array_equal(first[:, 0], one[:, 0])


def test_the_two_stains_are_found() -> None:
    pixels = tissue((1.0, 1.0))[:, 1:].reshape(3, -1).astype(np.float64)
    found, strengths = stains_of(pixels)
    for own, true in zip(found.T, (HAEMATOXYLIN, EOSIN), strict=True):
        assert own @ true / np.linalg.norm(true) > 0.97
    assert (strengths > 0).all()


def test_tiles_of_one_slide_are_changed_by_one_rule() -> None:
    whole = tissue((1.0, 0.8))
    halves = restained([whole[:, :, :32], whole[:, :, 32:]], "macenko")
    np.testing.assert_allclose(np.concatenate(halves, axis=2), restained([whole], "macenko")[0], atol=1e-3)


@pytest.mark.parametrize(
    ("tile", "problem"),
    [
        (np.full((3, 64, 64), 243, np.float32), "too little tissue"),
        (np.full((1, 64, 64), 100, np.float32), "is not red, green and blue"),
        (np.full((3, 64, 64), 900, np.float32), "is not red, green and blue"),
    ],
)
def test_what_has_no_stain_is_refused(tile: NDArray[np.float32], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        restained([tile], "reinhard")
