"""Images of several scanners on one scale: landmarks of histograms, and N4."""

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.images.harmonise import harmonised, landmarks_of, placed, without_bias
from client.export.preparation import preparation_program
from shared.errors import JobError, RunError
from shared.job.data_options import DataTable
from shared.landmarks import INNER
from tests.jobs import make_job

Image = NDArray[np.float32]


def head(side: int = 64) -> Image:
    """Return a head of three tissues on a dark background (side, side)."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius, noise = np.hypot(x, y), np.random.default_rng(0).normal(0, 2, (side, side))
    tissue = 100.0 * (radius < 0.42) + 40 * (radius < 0.3) + 60 * (radius < 0.15)
    return (10 + tissue + noise).astype(np.float32)


def scanner(image: Image, gamma: float, gain: float) -> Image:
    return (gain * (image / 220).clip(0) ** gamma).astype(np.float32)


def test_two_scanners_of_one_head_come_to_one_scale() -> None:
    first, second = scanner(head(), 1.0, 300.0), scanner(head(), 0.6, 1500.0)
    places = ((placed(landmarks_of(first)) + placed(landmarks_of(second))) / 2).tolist()
    data = DataTable(size=[64, 64], landmarks=[places])
    one, other = (harmonised(image[None], data)[0] for image in (first, second))
    assert np.percentile(one[first > first.mean()], INNER) == pytest.approx(places, abs=0.01)
    assert np.abs(one - other).mean() < 0.02
    before = [(image - image.min()) / np.ptp(image) for image in (first, second)]
    assert np.abs(before[0] - before[1]).mean() > 0.08
    assert one.min() >= 0
    assert one.max() <= 1


def test_each_channel_has_its_own_landmarks_or_all_have_one_row() -> None:
    image = np.stack([head(), 3 * head() + 5])
    rows = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9]]
    found = harmonised(image, DataTable(size=[64, 64], channels=2, landmarks=rows))
    for before, channel, row in zip(image, found, rows, strict=True):
        assert np.percentile(channel[before > before.mean()], INNER) == pytest.approx(row, abs=0.02)
    same = harmonised(image, DataTable(size=[64, 64], channels=2, landmarks=rows[:1]))
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)


def test_a_flat_image_has_no_landmarks() -> None:
    flat = np.full((1, 32, 32), 7.0, np.float32)
    assert not harmonised(flat, DataTable(size=[32, 32], landmarks=[[0.1, 0.2, 0.3, 0.4, 0.5]])).any()
    assert np.isnan(placed(landmarks_of(flat[0]))).all()
    np.testing.assert_array_equal(without_bias(flat[0]), flat[0])


def test_a_slow_change_of_brightness_is_taken_out_the_same_way_each_time() -> None:
    inside = np.hypot(*(np.mgrid[:96, :96] / 96 - 0.5)) < 0.35  # one tissue
    noise = np.random.default_rng(1).normal(0, 2, (96, 96))
    image = (10 + 100 * inside + noise).astype(np.float32)
    slope = np.linspace(0.7, 1.3, 96, dtype=np.float32)[None]

    def unevenness(found: Image) -> float:
        return float(found[inside].std() / found[inside].mean())

    once = without_bias(image * slope)
    assert unevenness(once) < 0.5 * unevenness(image * slope)
    np.testing.assert_array_equal(without_bias(image * slope), once)
    data = DataTable(size=[96, 96], bias_correction=True)
    np.testing.assert_array_equal(harmonised((image * slope)[None], data)[0], once)


def test_what_no_job_may_ask_is_refused() -> None:
    assert make_job(data_landmarks=[[0.1, 0.2, 0.3, 0.4, 0.5]]).data.landmarks
    for landmarks, says in (
        ([[0.5, 0.2, 0.3, 0.4, 0.6]], "must ascend"),
        ([[0.1, 0.2, 0.3, 0.4, 0.5]] * 2, "has 2 channels"),
    ):
        with pytest.raises(JobError, match=says):
            make_job(data_landmarks=landmarks)
    with pytest.raises(JobError, match="for tasks with one image"):
        make_job(task_name="registration", data_bias_correction=True)
    with pytest.raises(RunError, match="which no export does"):
        preparation_program(DataTable(size=[16, 16], bias_correction=True))
